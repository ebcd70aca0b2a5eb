package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// start runs the service on a free port until the test ends, and says where.
func start(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	var group sync.WaitGroup
	group.Go(func() {
		if err := run(ctx, []string{"serve", "--port", "0", "--version", "1.2.3"}, writer); err != nil {
			t.Errorf("the service ended with %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	line := make([]byte, 200)
	size, err := reader.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(line[:size]))
	return "http://" + words[len(words)-1]
}

func TestItServesUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	url := start(t)
	for _, command := range []string{"health", "smoke"} {
		if err := run(t.Context(), []string{command, "--url", url}, io.Discard); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestSmokeFailsWhereNothingServes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := run(ctx, []string{"smoke", "--url", "http://127.0.0.1:1"}, io.Discard); err == nil {
		t.Error("nothing serves there, and smoke passes")
	}
}

func TestWhatItIsGivenIsLookedAt(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, content := range map[string]string{"empty": "[]", "broken": "{", "wrong": `{"symbol": 1}`} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := [][]string{
		{"fly"}, {"serve", "--port", "x"}, {"serve", "--host", "no such host"},
		{"serve", "--instruments", filepath.Join(folder, "empty")},
		{"serve", "--instruments", filepath.Join(folder, "broken")},
		{"serve", "--instruments", filepath.Join(folder, "wrong")},
		{"serve", "--instruments", filepath.Join(folder, "missing")},
	}
	for _, arguments := range cases {
		if err := run(t.Context(), arguments, io.Discard); err == nil {
			t.Errorf("order-gate %s is accepted", strings.Join(arguments, " "))
		}
	}
}
