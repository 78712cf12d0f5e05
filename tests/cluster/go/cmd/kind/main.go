// Program kind is kind, built as it is.
package main

import "sigs.k8s.io/kind/cmd/kind/app"

func main() {
	app.Main()
}
