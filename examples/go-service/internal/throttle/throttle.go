// Package throttle lets each account send so many orders in a second, and no more.
package throttle

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// AccountsMax bounds how many accounts are remembered; whoever was not seen for longest is forgotten first, and begins
// with a full allowance again.
const AccountsMax = 10_000

type entry struct {
	account string
	limiter *rate.Limiter
}

// A Throttle counts the orders of accounts. It may be used by many goroutines at once.
type Throttle struct {
	perSecond rate.Limit
	burst     int
	most      int

	mutex    sync.Mutex
	accounts map[string]*list.Element
	recent   *list.List // the account that was seen last is at the front
}

// New makes a throttle of so many orders per second and account, with bursts of so many.
func New(perSecond float64, burst int) *Throttle {
	return &Throttle{
		perSecond: rate.Limit(perSecond), burst: burst, most: AccountsMax,
		accounts: map[string]*list.Element{}, recent: list.New(),
	}
}

// Allow says whether an account may send one more order at a time, and counts it if so.
func (t *Throttle) Allow(account string, at time.Time) bool {
	return t.limiter(account).AllowN(at, 1)
}

func (t *Throttle) limiter(account string) *rate.Limiter {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if found, ok := t.accounts[account]; ok {
		t.recent.MoveToFront(found)
		return found.Value.(*entry).limiter
	}
	limiter := rate.NewLimiter(t.perSecond, t.burst)
	t.accounts[account] = t.recent.PushFront(&entry{account, limiter})
	if oldest := t.recent.Back(); t.recent.Len() > t.most {
		delete(t.accounts, oldest.Value.(*entry).account)
		t.recent.Remove(oldest)
	}
	return limiter
}
