package gate

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/order-gate/internal/order"
	"example.org/order-gate/internal/throttle"
)

const body = `{"id":"a-1","account":"desk-7","symbol":"BOND","side":"buy","kind":"limit","price":"100.50","lots":5}`

func newGate() *Gate {
	bond := order.Instrument{
		Symbol: "BOND", Decimals: 2, TickUnits: 5, LotsMax: 1_000, ReferenceTicks: 2_000, BandPct: 10, NotionalMax: 1 << 40,
	}
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	return New("1.2.3", []order.Instrument{bond}, throttle.New(100, 100), func() time.Time { return noon })
}

func ask(t *testing.T, gate *Gate, method, path, content string) (int, string) {
	t.Helper()
	answer := httptest.NewRecorder()
	gate.Handler().ServeHTTP(answer, httptest.NewRequest(method, path, strings.NewReader(content)))
	if version := answer.Header().Get("X-Service-Version"); version != "1.2.3" {
		t.Errorf("%s %s says version %q", method, path, version)
	}
	return answer.Code, answer.Body.String()
}

func TestOrders(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		content string
		status  int
		code    string
	}{
		"good":            {body, http.StatusOK, ""},
		"market":          {strings.Replace(strings.Replace(body, `"100.50"`, `""`, 1), "limit", "market", 1), http.StatusOK, ""},
		"no JSON":         {"{", http.StatusBadRequest, "request"},
		"an unknown key":  {strings.Replace(body, `"lots"`, `"lot"`, 1), http.StatusBadRequest, "request"},
		"two orders":      {body + body, http.StatusBadRequest, "request"},
		"a huge order":    {strings.Replace(body, "a-1", strings.Repeat("a", BodyBytesMax), 1), http.StatusBadRequest, "request"},
		"another symbol":  {strings.Replace(body, "BOND", "GOLD", 1), http.StatusUnprocessableEntity, "symbol"},
		"half a tick":     {strings.Replace(body, "100.50", "100.51", 1), http.StatusUnprocessableEntity, "price"},
		"out of the band": {strings.Replace(body, "100.50", "200", 1), http.StatusUnprocessableEntity, "band"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, content := ask(t, newGate(), http.MethodPost, "/orders", test.content)
			var found verdict
			if err := json.Unmarshal([]byte(content), &found); err != nil {
				t.Fatalf("%v in %s", err, content)
			}
			if status != test.status || found.Accepted != (test.code == "") {
				t.Errorf("%d %s, want %d", status, content, test.status)
			}
			if test.code != "" && (len(found.Refusals) != 1 || found.Refusals[0].Code != test.code) {
				t.Errorf("refused for %v, want %s", found.Refusals, test.code)
			}
		})
	}
}

func TestWhoSendsTooManyIsThrottled(t *testing.T) {
	t.Parallel()
	gate := newGate()
	gate.throttle = throttle.New(1, 1)
	for number, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
		if status, _ := ask(t, gate, http.MethodPost, "/orders", body); status != want {
			t.Errorf("order %d: %d, want %d", number, status, want)
		}
	}
}

func TestWhatAnOperatorAsks(t *testing.T) {
	t.Parallel()
	gate := newGate()
	ask(t, gate, http.MethodPost, "/orders", body)
	for path, want := range map[string]string{
		"/healthz": `"ok"`, "/readyz": `"ready"`, "/drain": `"draining"`,
		"/metrics": `order_gate_orders_total{verdict="accepted"} 1`,
	} {
		if status, content := ask(t, gate, http.MethodGet, path, ""); status != http.StatusOK || !strings.Contains(content, want) {
			t.Errorf("%s: %d %s, want %s", path, status, content, want)
		}
	}
	if status, content := ask(t, gate, http.MethodPost, "/drain", `{"to":"green"}`); status != http.StatusAccepted ||
		strings.TrimSpace(content) != `{"state":"drained","remaining":0}` {
		t.Errorf("drain: %d %s", status, content)
	}
	if status, _ := ask(t, gate, http.MethodPost, "/orders", body); status != http.StatusOK {
		t.Errorf("a drained gate refuses an order with %d", status)
	}
	gate.Stop()
	if status, _ := ask(t, gate, http.MethodGet, "/readyz", ""); status != http.StatusServiceUnavailable {
		t.Errorf("a gate that stops is ready: %d", status)
	}
	if status, _ := ask(t, gate, http.MethodGet, "/healthz", ""); status != http.StatusOK {
		t.Errorf("a gate that stops is not healthy: %d", status)
	}
}

func TestARequestInFlightIsWaitedFor(t *testing.T) {
	t.Parallel()
	gate := newGate()
	reader, writer := io.Pipe()
	var group sync.WaitGroup
	group.Go(func() {
		answer := httptest.NewRecorder()
		gate.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/orders", reader))
		if answer.Code != http.StatusOK {
			t.Errorf("the request in flight got %d", answer.Code)
		}
	})
	// The handler reads the first half, so it is in flight now.
	if _, err := io.WriteString(writer, body[:10]); err != nil {
		t.Fatal(err)
	}
	if _, content := ask(t, gate, http.MethodPost, "/drain", ""); !strings.Contains(content, `"remaining":1`) {
		t.Errorf("a request is in flight, and the drain says %s", content)
	}
	if _, err := io.WriteString(writer, body[10:]); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	if _, content := ask(t, gate, http.MethodGet, "/drain", ""); !strings.Contains(content, `"drained"`) {
		t.Errorf("nothing is in flight, and the drain says %s", content)
	}
}

func TestManyOrdersAtOnceAreAllCounted(t *testing.T) {
	t.Parallel()
	gate := newGate()
	gate.throttle = throttle.New(1, 1_000)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 25 {
				gate.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader(body)))
			}
		})
	}
	group.Wait()
	if _, content := ask(t, gate, http.MethodGet, "/metrics", ""); !strings.Contains(content, `"accepted"} 200`) {
		t.Errorf("200 orders were accepted, and the metrics say %s", content)
	}
}
