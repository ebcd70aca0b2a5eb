package throttle

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestABurstAndThenOneAtATime(t *testing.T) {
	t.Parallel()
	throttle := New(10, 2)
	for number, want := range []bool{true, true, false} {
		if got := throttle.Allow("desk-7", noon); got != want {
			t.Errorf("order %d: %v, want %v", number, got, want)
		}
	}
	if !throttle.Allow("desk-8", noon) {
		t.Error("an account is throttled for another")
	}
	if throttle.Allow("desk-7", noon.Add(99*time.Millisecond)) || !throttle.Allow("desk-7", noon.Add(100*time.Millisecond)) {
		t.Error("a tenth of a second is worth one order")
	}
}

func TestTheLongestUnseenIsForgotten(t *testing.T) {
	t.Parallel()
	throttle := New(1, 1)
	throttle.most = 2
	for _, account := range []string{"a", "b", "a", "c"} {
		throttle.Allow(account, noon)
	}
	if len(throttle.accounts) != 2 || throttle.recent.Len() != 2 {
		t.Fatalf("%d accounts are remembered, want 2", len(throttle.accounts))
	}
	if throttle.Allow("a", noon) || !throttle.Allow("b", noon) {
		t.Error("b was forgotten, a was not")
	}
}

func TestManyAtOnceGetNoMoreThanTheBurst(t *testing.T) {
	t.Parallel()
	throttle := New(1, 50)
	var allowed atomic.Int64
	var group sync.WaitGroup
	for worker := range 20 {
		group.Go(func() {
			for number := range 20 {
				throttle.Allow(fmt.Sprintf("other-%d-%d", worker, number), noon)
				if throttle.Allow("desk-7", noon) {
					allowed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if allowed.Load() != 50 {
		t.Errorf("%d orders went through, want 50", allowed.Load())
	}
}
