// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Every sensor in one object, so that they share ring buffer, folds and cgroups: the build includes each file of the folder `sensor`
 * before this one. Each program is loaded by itself: a hook that this kernel lacks costs that program alone. */
#include "signal.h"

char LICENSE[] SEC("license") = "GPL";
