// Package gate serves the checks of orders over HTTP, and what an operator asks of a service: health, readiness, metrics,
// drain.
package gate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"example.org/order-gate/internal/order"
	"example.org/order-gate/internal/throttle"
)

// BodyBytesMax bounds a request; an order has some 200 bytes.
const BodyBytesMax = 4096

// A Gate answers requests. It keeps nothing that another instance would need, so it is drained when its requests have
// ended.
type Gate struct {
	version     string
	instruments map[string]order.Instrument
	throttle    *throttle.Throttle
	now         func() time.Time

	ready    atomic.Bool
	draining atomic.Bool
	inFlight atomic.Int64
	accepted atomic.Int64
	refused  atomic.Int64
	invalid  atomic.Int64
	slowed   atomic.Int64
}

// New makes a gate that is ready.
func New(version string, instruments []order.Instrument, limit *throttle.Throttle, now func() time.Time) *Gate {
	gate := &Gate{version: version, instruments: map[string]order.Instrument{}, throttle: limit, now: now}
	for _, instrument := range instruments {
		gate.instruments[instrument.Symbol] = instrument
	}
	gate.ready.Store(true)
	return gate
}

// Stop makes the gate say that it is not ready any more; what comes all the same is still answered.
func (g *Gate) Stop() {
	g.ready.Store(false)
}

// Handler is what an HTTP server serves.
func (g *Gate) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", g.counted(g.check))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { g.answer(w, http.StatusOK, state{"ok", 0}) })
	mux.HandleFunc("GET /readyz", g.readiness)
	mux.HandleFunc("GET /metrics", g.metrics)
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) {
		g.draining.Store(true)
		g.answer(w, http.StatusAccepted, g.drained())
	})
	mux.HandleFunc("GET /drain", func(w http.ResponseWriter, _ *http.Request) { g.answer(w, http.StatusOK, g.drained()) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Service-Version", g.version)
		mux.ServeHTTP(w, r)
	})
}

type state struct {
	State     string `json:"state"`
	Remaining int64  `json:"remaining"`
}

func (g *Gate) drained() state {
	remaining := g.inFlight.Load()
	if remaining > 0 || !g.draining.Load() {
		return state{"draining", remaining}
	}
	return state{"drained", 0}
}

func (g *Gate) readiness(w http.ResponseWriter, _ *http.Request) {
	if !g.ready.Load() {
		g.answer(w, http.StatusServiceUnavailable, state{"stopping", g.inFlight.Load()})
		return
	}
	g.answer(w, http.StatusOK, state{"ready", g.inFlight.Load()})
}

func (g *Gate) counted(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g.inFlight.Add(1)
		defer g.inFlight.Add(-1)
		handler(w, r)
	}
}

// request is an order as it is written in JSON; its price is text, for numbers of JSON are read as floating point.
type request struct {
	ID      string     `json:"id"`
	Account string     `json:"account"`
	Symbol  string     `json:"symbol"`
	Side    order.Side `json:"side"`
	Kind    order.Kind `json:"kind"`
	Price   string     `json:"price"`
	Lots    int64      `json:"lots"`
}

type verdict struct {
	Accepted bool            `json:"accepted"`
	Refusals []order.Refusal `json:"refusals,omitempty"`
}

func (g *Gate) check(w http.ResponseWriter, r *http.Request) {
	asked, err := read(w, r)
	if err != nil {
		g.invalid.Add(1)
		g.refuse(w, http.StatusBadRequest, "request", err.Error())
		return
	}
	if !g.throttle.Allow(asked.Account, g.now()) {
		g.slowed.Add(1)
		w.Header().Set("Retry-After", "1")
		g.refuse(w, http.StatusTooManyRequests, "throttled", "the account sends too many orders")
		return
	}
	refusals := g.judge(asked)
	if len(refusals) > 0 {
		g.refused.Add(1)
		g.answer(w, http.StatusUnprocessableEntity, verdict{false, refusals})
		return
	}
	g.accepted.Add(1)
	g.answer(w, http.StatusOK, verdict{Accepted: true})
}

func read(w http.ResponseWriter, r *http.Request) (request, error) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, BodyBytesMax))
	decoder.DisallowUnknownFields()
	var asked request
	if err := decoder.Decode(&asked); err != nil {
		return asked, fmt.Errorf("no order: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return asked, errors.New("no order: there is more after it")
	}
	return asked, nil
}

func (g *Gate) judge(asked request) []order.Refusal {
	instrument, known := g.instruments[asked.Symbol]
	if !known {
		return []order.Refusal{{Code: "symbol", Reason: fmt.Sprintf("%q is not traded here", asked.Symbol)}}
	}
	var ticks int64
	if asked.Price != "" {
		parsed, err := instrument.ParseTicks(asked.Price)
		if err != nil {
			return []order.Refusal{{Code: "price", Reason: err.Error()}}
		}
		ticks = parsed
	}
	return instrument.Check(order.Order{
		ID: asked.ID, Account: asked.Account, Symbol: asked.Symbol, Side: asked.Side, Kind: asked.Kind,
		Ticks: ticks, Lots: asked.Lots,
	})
}

func (g *Gate) refuse(w http.ResponseWriter, status int, code, reason string) {
	g.answer(w, status, verdict{false, []order.Refusal{{Code: code, Reason: reason}}})
}

func (g *Gate) answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that went away gets no answer, and there is nobody to tell.
	_ = json.NewEncoder(w).Encode(document)
}

func (g *Gate) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = fmt.Fprintf(w, `# HELP order_gate_orders_total Orders by what was said of them.
# TYPE order_gate_orders_total counter
order_gate_orders_total{verdict="accepted"} %d
order_gate_orders_total{verdict="refused"} %d
order_gate_orders_total{verdict="invalid"} %d
order_gate_orders_total{verdict="throttled"} %d
# HELP order_gate_requests_in_flight Requests that have no answer yet.
# TYPE order_gate_requests_in_flight gauge
order_gate_requests_in_flight %d
`, g.accepted.Load(), g.refused.Load(), g.invalid.Load(), g.slowed.Load(), g.inFlight.Load())
}
