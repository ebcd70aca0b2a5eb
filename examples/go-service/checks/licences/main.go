// The program licences says under which licences the modules are that a program is built of, and fails when one of them
// is not on the list.
//
//	licences ./cmd/...      exit code 1: a licence is not on the list, or none was found
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/google/licensecheck"
)

// allowed are SPDX identifiers. What asks for the source of the whole program is not among them.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "Unlicense"}

// coverageMin is how much of a file must be the text of known licences, in percent.
const coverageMin = 75

type module struct {
	Path, Version, Dir string
	Main               bool
}

func main() {
	refused, err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
	if refused > 0 {
		os.Exit(1)
	}
}

func run(packages []string, out io.Writer) (int, error) {
	modules, err := modulesOf(packages)
	if err != nil {
		return 0, err
	}
	refused := 0
	for _, found := range modules {
		names := licencesOf(found.Dir)
		bad := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(allowed, name) })
		words := strings.Join(names, " AND ")
		if len(names) == 0 {
			words = "no known licence"
		}
		if len(names) == 0 || len(bad) > 0 {
			words += ", which is not allowed"
			refused++
		}
		_, _ = fmt.Fprintf(out, "%s %s: %s\n", found.Path, found.Version, words)
	}
	_, _ = fmt.Fprintf(out, "%d modules, %d with a licence that is not on the list\n", len(modules), refused)
	return refused, nil
}

// modulesOf lists the modules of other people that packages are built of.
func modulesOf(packages []string) ([]module, error) {
	command := exec.Command("go", append([]string{"list", "-deps", "-json=Module"}, packages...)...)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	seen := map[string]module{}
	decoder := json.NewDecoder(strings.NewReader(string(output)))
	for {
		var found struct{ Module *module }
		if err := decoder.Decode(&found); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list wrote no JSON: %w", err)
		}
		if found.Module != nil && !found.Module.Main {
			seen[found.Module.Path] = *found.Module
		}
	}
	var modules []module
	for _, found := range seen {
		modules = append(modules, found)
	}
	sort.Slice(modules, func(i, j int) bool { return modules[i].Path < modules[j].Path })
	return modules, nil
}

// licencesOf names the licences of the files in a module's folder that are named like one.
func licencesOf(folder string) []string {
	found := map[string]bool{}
	for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "license*", "License*"} {
		files, _ := filepath.Glob(filepath.Join(folder, pattern))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil || strings.HasSuffix(file, ".go") {
				continue
			}
			covered := licensecheck.Scan(text)
			if covered.Percent < coverageMin {
				continue
			}
			for _, match := range covered.Match {
				found[match.ID] = true
			}
		}
	}
	var names []string
	for name := range found {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
