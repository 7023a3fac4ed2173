// Serve is an S3 server for tests of other modules: `serve DIRECTORY BUCKET`. Its keys are those of
// the environment, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. It prints its host:port once it
// answers, and ends with its standard input.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/morrowmq/morrow/tier/s3test/s3gateway"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: serve DIRECTORY BUCKET")
		os.Exit(2)
	}
	output := os.Stdout
	os.Stdout = nil // the server has something to say, too
	addr, err := s3gateway.Start(os.Args[1], os.Args[2], os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(output, addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
