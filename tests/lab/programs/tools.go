//go:build tools

// Package tools fixes the versions of the programs whose main packages are in their own modules: helm, with which suites
// install the charts, and kwok, which simulates nodes and running Pods.
//
// These versions build with the Kubernetes modules that go.mod fixes. Every program then shares the compiled packages of the
// others: helm takes 25 seconds of CPU after Kubernetes, and took five minutes with modules of its own.
package tools

import (
	_ "helm.sh/helm/v3/cmd/helm"
	_ "sigs.k8s.io/kwok/cmd/kwok"
)
