// What Kubernetes' own code makes of manifests: kustomize and helm render them, the API types decode them strictly, the
// admission of PodSecurity judges their pods, and the evaluator of the API server runs admission policies.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	const usage = "usage: manifests validate | kustomize DIRECTORY | helm CHART RELEASE [KEY=VALUE...] | admit POLICY | explain POLICY"
	if len(args) == 0 {
		return fmt.Errorf(usage)
	}
	switch command, rest := args[0], args[1:]; {
	case command == "validate" && len(rest) == 0:
		input, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		return printJSON(validate(input))
	case command == "kustomize" && len(rest) == 1:
		return printText(buildKustomization(rest[0]))
	case command == "helm" && len(rest) >= 2:
		return printText(renderChart(rest[0], rest[1], rest[2:]))
	case command == "explain" && len(rest) == 1:
		input, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		said, err := explain(rest[0], input)
		if err != nil {
			return err
		}
		return printJSON(said)
	case command == "admit" && len(rest) == 1:
		input, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		pods, err := admit(rest[0], input)
		if err != nil {
			return err
		}
		return printJSON(pods)
	}
	return fmt.Errorf(usage)
}

func printText(text string, err error) error {
	if err == nil {
		fmt.Print(text)
	}
	return err
}

func printJSON(value any) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}
