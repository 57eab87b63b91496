// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Every sensor in one object, so that they share ring, folds and cgroups. Each is its own file, and each of its programs is
 * loaded by itself: what this kernel lacks costs that program alone. */
#include "signal.h"

#include "sensor/process.c"
#include "sensor/namespace.c"
#include "sensor/mount.c"
#include "sensor/trace.c"
#include "sensor/module.c"
#include "sensor/bpf.c"
#include "sensor/capability.c"
#include "sensor/socket.c"
#include "sensor/root.c"
#include "sensor/file.c"
#include "sensor/canary.c"

char LICENSE[] SEC("license") = "GPL";
