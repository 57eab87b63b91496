//go:build tools

// Package tools fixes the version of kwok, which gives the lab nodes and running pods without a kubelet.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
