//go:build tools

// Package tools fixes the version of helm, which installs the charts into the lab as their users do.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
