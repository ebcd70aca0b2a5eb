// The program order-gate checks orders before they go to the market.
//
//	order-gate serve  --port 8080 --instruments instruments.json
//	order-gate health --url http://127.0.0.1:8080     is it alive?
//	order-gate smoke  --url http://127.0.0.1:8080     does it accept a good order, and refuse a bad one?
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.org/order-gate/internal/gate"
	"example.org/order-gate/internal/order"
	"example.org/order-gate/internal/throttle"
)

//go:embed instruments.json
var defaultInstruments []byte

const (
	stopTimeout    = 9 * time.Second
	requestTimeout = 5 * time.Second
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "order-gate:", err)
		os.Exit(1) //nolint:gocritic // there is nothing left to cancel
	}
}

func run(ctx context.Context, arguments []string, out io.Writer) error {
	command := "serve"
	if len(arguments) > 0 && !strings.HasPrefix(arguments[0], "-") {
		command, arguments = arguments[0], arguments[1:]
	}
	flags := flag.NewFlagSet("order-gate "+command, flag.ContinueOnError)
	flags.SetOutput(out)
	host := flags.String("host", "127.0.0.1", "the address to listen on")
	port := flags.Int("port", 8080, "the port to listen on")
	version := flags.String("version", "dev", "what the header X-Service-Version says")
	file := flags.String("instruments", "", "a JSON file of instruments; built-in ones if empty")
	url := flags.String("url", "http://127.0.0.1:8080", "where the service answers")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	switch command {
	case "serve":
		return serve(ctx, net.JoinHostPort(*host, strconv.Itoa(*port)), *version, *file, out)
	case "health":
		return expect(ctx, http.MethodGet, *url+"/healthz", "", http.StatusOK)
	case "smoke":
		return smoke(ctx, *url)
	default:
		return fmt.Errorf("%q is neither serve, health nor smoke", command)
	}
}

func serve(ctx context.Context, address, version, file string, out io.Writer) error {
	instruments, err := load(file)
	if err != nil {
		return err
	}
	served := gate.New(version, instruments, throttle.New(100, 200), time.Now)
	server := &http.Server{Handler: served.Handler(), ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	_, _ = fmt.Fprintf(out, "order-gate %s serves %d instruments on %s\n", version, len(instruments), listener.Addr())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	served.Stop()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return server.Shutdown(stopping)
}

func load(file string) ([]order.Instrument, error) {
	content := defaultInstruments
	if file != "" {
		read, err := os.ReadFile(file) // #nosec G304 G703 -- whoever starts the program names it
		if err != nil {
			return nil, err
		}
		content = read
	}
	var instruments []order.Instrument
	if err := json.Unmarshal(content, &instruments); err != nil {
		return nil, fmt.Errorf("%s has no instruments: %w", file, err)
	}
	if len(instruments) == 0 {
		return nil, errors.New("there is no instrument to trade")
	}
	return instruments, nil
}

// smoke asks a service that runs what its customers would ask.
func smoke(ctx context.Context, url string) error {
	good := `{"id":"smoke-1","account":"smoke","symbol":"BOND","side":"buy","kind":"limit","price":"100.50","lots":1}`
	bad := strings.Replace(good, "buy", "hold", 1)
	return errors.Join(
		expect(ctx, http.MethodGet, url+"/readyz", "", http.StatusOK),
		expect(ctx, http.MethodPost, url+"/orders", good, http.StatusOK),
		expect(ctx, http.MethodPost, url+"/orders", bad, http.StatusUnprocessableEntity),
	)
}

func expect(ctx context.Context, method, url, content string, status int) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(content)) // #nosec G704 -- whoever calls it names the address
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request) // #nosec G704 -- as above
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, gate.BodyBytesMax))
	if answer.StatusCode != status {
		return fmt.Errorf("%s %s answered %d, not %d: %s", method, url, answer.StatusCode, status, text)
	}
	return nil
}
