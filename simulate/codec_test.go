package simulate

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"sync"

	"github.com/registryd/registryd/cluster"
)

// shelf is what stands in for JSON: a message is put on it whole, and what
// crosses the bus is its place. Nobody changes a message that was sent, so sender
// and receivers may share it.
type shelf struct {
	mu       sync.Mutex
	messages []any // guarded by mu
}

func (s *shelf) codec() cluster.Codec {
	return cluster.Codec{Marshal: s.put, Unmarshal: s.take}
}

func (s *shelf) put(message any) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, message)
	return binary.BigEndian.AppendUint32(nil, uint32(len(s.messages)-1)), nil
}

// at returns the message that stands at a place.
func (s *shelf) at(place []byte) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(place) != 4 || int(binary.BigEndian.Uint32(place)) >= len(s.messages) {
		return nil
	}
	return s.messages[binary.BigEndian.Uint32(place)]
}

func (s *shelf) take(place []byte, message any) error {
	from, to := reflect.ValueOf(s.at(place)), reflect.ValueOf(message).Elem()
	if !from.IsValid() || from.Type() != to.Type() {
		return fmt.Errorf("%T expected, %v came", message, from)
	}
	to.Set(from)
	return nil
}
