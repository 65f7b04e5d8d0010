package tail

import "testing"

// TestTaskFilter checks each part of a filter by itself, and all together.
func TestTaskFilter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		filter Filter
		task   task
		result string
		want   bool
	}{
		{"none", Filter{}, task{action: "Heartbeat"}, resultOK, true},
		{"a heartbeat", Filter{NoHeartbeats: true}, task{action: "Heartbeat"}, resultOK, false},
		{"no heartbeat", Filter{NoHeartbeats: true}, task{action: "Cancel"}, resultOK, true},
		{"its app", Filter{Apps: []string{"a", "orders"}}, task{app: "ORDERS"}, resultOK, true},
		{"another app", Filter{Apps: []string{"ORDER"}}, task{app: "ORDERS"}, resultOK, false},
		{"its id", Filter{Instances: []string{"o-1"}}, task{id: "o-1"}, resultOK, true},
		{"an id in another case", Filter{Instances: []string{"O-1"}}, task{id: "o-1"}, resultOK, false},
		{"its action", Filter{Actions: []string{"statusupdate"}}, task{action: "StatusUpdate"}, resultOK, true},
		{"another action", Filter{Actions: []string{"Cancel"}}, task{action: "StatusUpdate"}, resultOK, false},
		{"failed", Filter{Failed: true}, task{}, resultConflict, true},
		{"unanswered", Filter{Failed: true}, task{}, resultTimeout, true},
		{"not failed", Filter{Failed: true}, task{}, resultOK, false},
		{"all but one", Filter{Apps: []string{"A"}, Instances: []string{"a"}, Failed: true}, task{app: "A", id: "b"}, resultBusy, false},
		{"all", Filter{Apps: []string{"A"}, Instances: []string{"a"}, Failed: true}, task{app: "A", id: "a"}, resultBusy, true},
	} {
		if got := tt.filter.shows(&tt.task, &outcome{result: tt.result}); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}
