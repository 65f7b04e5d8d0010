package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/registryd/registryd/eureka"
)

// The encodings below decide which of two records of equal version wins, on
// every node. Changing them changes Registry-Version; hash_test.go holds values
// computed by another program.

// HashRecord returns the hash of a record's content: the first 8 bytes, big
// endian, of SHA-256 over a length-prefixed encoding of what docs/convergence.md
// lists. Version and liveness are no part of it, and r.Hash is not read.
func HashRecord(r *Record) uint64 {
	var stack [2048]byte
	b := appendRecord(stack[:0], r)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}

// Hash returns the hash of (set, status).
func (o *Override) Hash() uint64 {
	var stack [32]byte
	b := appendBool(stack[:0], o.Set)
	b = appendText(b, string(o.Status))
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}

// appendRecord writes the canonical encoding: texts as an 8-byte length and
// their bytes, numbers as 8 bytes (both big endian), booleans as a byte, an
// optional text as a boolean and, when there, the text, a map as its size and
// its pairs sorted by key.
func appendRecord(b []byte, r *Record) []byte {
	if !r.Live {
		b = append(b, "tombstone"...)
		b = appendInt(b, r.LastDirty)
		return appendInt(b, r.Duration.Milliseconds())
	}
	i := r.Info
	b = append(b, "instance"...)
	b = appendOptional(b, i.InstanceID)
	b = appendText(b, i.HostName)
	b = appendText(b, i.App)
	b = appendText(b, i.IPAddr)
	b = appendText(b, canonicalSID(i.SID))
	b = appendPort(b, i.Port)
	b = appendPort(b, i.SecurePort)
	b = appendInt(b, int64(i.CountryID))
	b = appendText(b, i.DataCenterInfo.Name)
	b = appendMap(b, i.DataCenterInfo.Metadata)
	b = appendInt(b, int64(i.LeaseInfo.RenewalIntervalInSecs))
	b = appendInt(b, int64(i.LeaseInfo.DurationInSecs))
	b = appendMap(b, i.Metadata)
	for _, s := range [...]*string{
		i.AppGroupName, i.HomePageURL, i.StatusPageURL, i.HealthCheckURL,
		i.SecureHealthCheckURL, i.VIPAddress, i.SecureVIPAddress, i.ASGName,
	} {
		b = appendOptional(b, s)
	}
	b = appendInt(b, r.LastDirty)
	return appendText(b, string(r.Base))
}

// canonicalSID maps the texts that Eureka doesn't write to the empty one, so
// that an instance hashes alike before and after it has travelled.
func canonicalSID(s string) string {
	if s == "na" || s == "unknown" {
		return ""
	}
	return s
}

func appendInt(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func appendText(b []byte, s string) []byte { return append(appendInt(b, int64(len(s))), s...) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendOptional(b []byte, s *string) []byte {
	b = appendBool(b, s != nil)
	if s != nil {
		b = appendText(b, *s)
	}
	return b
}

func appendPort(b []byte, p eureka.Port) []byte {
	return appendBool(appendInt(b, int64(p.Number)), p.Enabled)
}

func appendMap(b []byte, m map[string]string) []byte {
	b = appendInt(b, int64(len(m)))
	var room [24]string
	keys := room[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		b = appendText(b, k)
		b = appendText(b, m[k])
	}
	return b
}
