package order

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
)

var bond = Instrument{
	Symbol: "BOND", Decimals: 2, TickUnits: 5, LotsMax: 1_000, ReferenceTicks: 2_000, BandPct: 10,
	NotionalMax: 1_500_000,
}

func good() Order {
	return Order{ID: "a-1", Account: "desk-7", Symbol: "BOND", Side: Buy, Kind: Limit, Ticks: 2_010, Lots: 5}
}

func TestParseTicks(t *testing.T) {
	t.Parallel()
	for price, ticks := range map[string]int64{"100": 2_000, "100.5": 2_010, "100.05": 2_001, "0.05": 1, "007.10": 142} {
		found, err := bond.ParseTicks(price)
		if err != nil || found != ticks {
			t.Errorf("%s: %d ticks and %v, want %d", price, found, err, ticks)
		}
	}
	for _, price := range []string{"", ".", "1.", ".5", "1.001", "1.03", "-1", "+1", "1e2", "1,5", "½", "99999999999999999999"} {
		if ticks, err := bond.ParseTicks(price); !errors.Is(err, ErrPrice) {
			t.Errorf("%q became %d ticks with %v", price, ticks, err)
		}
	}
	if _, err := (Instrument{Symbol: "X"}).ParseTicks("1"); !errors.Is(err, ErrPrice) {
		t.Errorf("an instrument without a tick parses: %v", err)
	}
}

func FuzzParseTicks(f *testing.F) {
	f.Add("100.05")
	f.Add("92233720368547758.07")
	f.Fuzz(func(t *testing.T, price string) {
		ticks, err := bond.ParseTicks(price)
		if err != nil {
			return
		}
		written := fmt.Sprintf("%d.%02d", ticks*5/100, ticks*5%100)
		again, err := bond.ParseTicks(written)
		if ticks < 0 || err != nil || again != ticks {
			t.Fatalf("%q is %d ticks, which are written %s, which is %d and %v", price, ticks, written, again, err)
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	if refusals := bond.Check(good()); refusals != nil {
		t.Fatalf("a good order is refused: %v", refusals)
	}
	market := good()
	market.Kind, market.Ticks = Market, 0
	if refusals := bond.Check(market); refusals != nil {
		t.Fatalf("a good market order is refused: %v", refusals)
	}
	halted := bond
	halted.Halted = true
	cases := map[string]struct {
		instrument Instrument
		change     func(*Order)
		codes      []string
	}{
		"no id":              {bond, func(o *Order) { o.ID = "" }, []string{"id"}},
		"a long id":          {bond, func(o *Order) { o.ID = "a-123456789012345678901" }, []string{"id"}},
		"no account":         {bond, func(o *Order) { o.Account = "" }, []string{"account"}},
		"halted":             {halted, func(*Order) {}, []string{"halted"}},
		"no side":            {bond, func(o *Order) { o.Side = "hold" }, []string{"side"}},
		"no lots":            {bond, func(o *Order) { o.Lots = 0 }, []string{"quantity"}},
		"negative lots":      {bond, func(o *Order) { o.Lots = -1 }, []string{"quantity"}},
		"many lots":          {bond, func(o *Order) { o.Lots = 1_001 }, []string{"quantity", "notional"}},
		"another kind":       {bond, func(o *Order) { o.Kind = "stop" }, []string{"kind"}},
		"a priceless limit":  {bond, func(o *Order) { o.Ticks = 0 }, []string{"price"}},
		"a priced market":    {bond, func(o *Order) { o.Kind = Market }, []string{"price"}},
		"at the upper band":  {bond, func(o *Order) { o.Ticks = 2_200 }, nil},
		"above the band":     {bond, func(o *Order) { o.Ticks = 2_201 }, []string{"band"}},
		"at the lower band":  {bond, func(o *Order) { o.Ticks = 1_800 }, nil},
		"below the band":     {bond, func(o *Order) { o.Ticks = 1_799 }, []string{"band"}},
		"too much":           {bond, func(o *Order) { o.Lots = 747 }, []string{"notional"}},
		"just not too much":  {bond, func(o *Order) { o.Lots = 746 }, nil},
		"more than 64 bits":  {bond, func(o *Order) { o.Ticks = math.MaxInt64; o.Lots = 1_000 }, []string{"band", "notional"}},
		"two things at once": {bond, func(o *Order) { o.ID, o.Side = "", "" }, []string{"id", "side"}},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			order := good()
			test.change(&order)
			var codes []string
			for _, refusal := range test.instrument.Check(order) {
				codes = append(codes, refusal.Code)
			}
			if !slices.Equal(codes, test.codes) {
				t.Errorf("refused for %v, want %v", codes, test.codes)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	order := good()
	for b.Loop() {
		ticks, err := bond.ParseTicks("100.50")
		if err != nil {
			b.Fatal(err)
		}
		order.Ticks = ticks
		if bond.Check(order) != nil {
			b.Fatal("a good order is refused")
		}
	}
}
