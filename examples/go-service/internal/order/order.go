// Package order says whether an order may go to the market: the checks before a trade, as values and without a clock.
//
// Prices are whole ticks and quantities whole lots, so nothing here is rounded and two sums that are equal on paper are
// equal here.
package order

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// Side is whether an order buys or sells.
type Side string

// The sides that there are.
const (
	Buy  Side = "buy"
	Sell Side = "sell"
)

// Kind is how an order's price is meant.
type Kind string

// The kinds of orders that this gate knows.
const (
	Limit  Kind = "limit"
	Market Kind = "market"
)

// An Order as a client sends it, with its price in ticks (0 for a market order) and its quantity in lots.
type Order struct {
	ID      string
	Account string
	Symbol  string
	Side    Side
	Kind    Kind
	Ticks   int64
	Lots    int64
}

// An Instrument is what is known of a symbol: how its prices are written, and between which bounds an order must be.
type Instrument struct {
	Symbol string `json:"symbol"`
	// Decimals is how many digits a price has after the point, TickUnits how many of the last one a tick is.
	Decimals  int   `json:"decimals"`
	TickUnits int64 `json:"tick_units"`
	LotsMax   int64 `json:"lots_max"`
	// ReferenceTicks is the last close; a limit order must be within BandPct percent of it.
	ReferenceTicks int64 `json:"reference_ticks"`
	BandPct        int64 `json:"band_pct"`
	// NotionalMax bounds price times quantity, in ticks times lots.
	NotionalMax int64 `json:"notional_max"`
	Halted      bool  `json:"halted"`
}

// A Refusal is why an order may not go to the market: a code for programs, a reason for people.
type Refusal struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// IDLengthMax bounds what a client may call its order, as FIX's ClOrdID usually is.
const IDLengthMax = 20

const decimalsMax = 9

// ErrPrice is wrapped by every error of ParseTicks.
var ErrPrice = errors.New("not a price")

// ParseTicks reads a decimal price, such as "101.25", as a number of ticks. It refuses what is not a whole number of
// them: a price that was rounded is another price.
func (i Instrument) ParseTicks(price string) (int64, error) {
	if i.Decimals < 0 || i.Decimals > decimalsMax || i.TickUnits <= 0 {
		return 0, fmt.Errorf("%w: the instrument %s has no ticks", ErrPrice, i.Symbol)
	}
	whole, fraction, dotted := strings.Cut(price, ".")
	if whole == "" || (dotted && fraction == "") {
		return 0, fmt.Errorf("%w: %q", ErrPrice, price)
	}
	if len(fraction) > i.Decimals {
		return 0, fmt.Errorf("%w: %q has %d decimals, %d are allowed", ErrPrice, price, len(fraction), i.Decimals)
	}
	var units int64
	for _, digit := range whole + fraction + strings.Repeat("0", i.Decimals-len(fraction)) {
		if digit < '0' || digit > '9' {
			return 0, fmt.Errorf("%w: %q", ErrPrice, price)
		}
		if units > (math.MaxInt64-int64(digit-'0'))/10 {
			return 0, fmt.Errorf("%w: %q is too large", ErrPrice, price)
		}
		units = units*10 + int64(digit-'0')
	}
	if units%i.TickUnits != 0 {
		return 0, fmt.Errorf("%w: %q is not a multiple of the tick", ErrPrice, price)
	}
	return units / i.TickUnits, nil
}

// Check says why an order may not go to the market; nothing when it may. Every reason is given, not only the first.
func (i Instrument) Check(order Order) []Refusal {
	var refusals []Refusal
	refuse := func(code, format string, values ...any) {
		refusals = append(refusals, Refusal{code, fmt.Sprintf(format, values...)})
	}
	if order.ID == "" || len(order.ID) > IDLengthMax {
		refuse("id", "an order's id has 1 to %d characters, this one has %d", IDLengthMax, len(order.ID))
	}
	if order.Account == "" {
		refuse("account", "the order names no account")
	}
	if i.Halted {
		refuse("halted", "%s is not traded now", i.Symbol)
	}
	if order.Side != Buy && order.Side != Sell {
		refuse("side", "%q is neither buy nor sell", order.Side)
	}
	if order.Lots < 1 || order.Lots > i.LotsMax {
		refuse("quantity", "%d lots; 1 to %d are allowed", order.Lots, i.LotsMax)
	}
	i.checkPrice(order, refuse)
	return refusals
}

func (i Instrument) checkPrice(order Order, refuse func(code, format string, values ...any)) {
	ticks := order.Ticks
	switch order.Kind {
	case Market:
		if ticks != 0 {
			refuse("price", "a market order has no price")
			return
		}
		ticks = i.ReferenceTicks
	case Limit:
		if ticks < 1 {
			refuse("price", "a limit order has a price above zero")
			return
		}
		if distance(ticks, i.ReferenceTicks) > i.band() {
			refuse("band", "%d ticks are more than %d %% from %d", ticks, i.BandPct, i.ReferenceTicks)
		}
	default:
		refuse("kind", "%q is neither limit nor market", order.Kind)
		return
	}
	if order.Lots > 0 && exceeds(ticks, order.Lots, i.NotionalMax) {
		refuse("notional", "%d ticks times %d lots are more than %d", ticks, order.Lots, i.NotionalMax)
	}
}

// band is how many ticks a price may be away from the reference.
func (i Instrument) band() int64 {
	return i.ReferenceTicks / 100 * i.BandPct
}

func distance(one, other int64) int64 {
	if one > other {
		return one - other
	}
	return other - one
}

// exceeds says whether one times other is more than most, also where the product does not fit into 64 bits.
func exceeds(one, other, most int64) bool {
	high, low := bits.Mul64(uint64(one), uint64(other)) // #nosec G115 -- both are positive, the caller looked
	return high > 0 || low > uint64(most)               // #nosec G115 -- a bound is not negative
}
