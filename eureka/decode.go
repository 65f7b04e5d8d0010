package eureka

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep objects, arrays and elements may nest in a body.
// Eureka's own go down to seven.
const MaxDepth = 64

// DecodeError says where a body could not be decoded, and why. The API answers
// 400 for it, whatever it says.
type DecodeError struct {
	Format Format
	Field  string // as in "/instance/port/$", "" at the top; cut at 100 bytes
	Err    error
}

func (e *DecodeError) Error() string {
	name := "JSON"
	if e.Format == XML {
		name = "XML"
	}
	if e.Field == "" {
		return fmt.Sprintf("decode %s: %v", name, e.Err)
	}
	return fmt.Sprintf("decode %s: %s: %v", name, e.Field, e.Err)
}

func (e *DecodeError) Unwrap() error { return e.Err }

// Reasons to refuse a body. They are the text of a [DecodeError], nobody tests for
// them.
var (
	errDepth     = fmt.Errorf("nested deeper than %d", MaxDepth)
	errNumber    = errors.New("not a number")
	errRange     = errors.New("number out of range")
	errNotObject = errors.New("not an object")
	errNotScalar = errors.New("not a text, number or boolean")
	errNotList   = errors.New("not an array")
	errNoApp     = errors.New("app is missing")
	errDCName    = errors.New("unknown name of a data centre")
	errAmazon    = errors.New("metadata of Amazon is missing")
	errTrailing  = errors.New("something follows the document")
	errUTF8      = errors.New("not UTF-8")
)

// maxFieldText bounds the part of a body that an error quotes.
const maxFieldText = 100

// cutField makes a path out of a body fit for a message.
func cutField(s string) string {
	if len(s) > maxFieldText {
		s = s[:maxFieldText] + "…"
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// DecodeInstance reads a document of one instance: a registration's body, or
// the answer to a read of one instance.
//
// It takes what Eureka takes, and in XML as well as in JSON what follows. The
// app and the group are upper-cased; a status beyond the five is UNKNOWN, in
// JSON also one in lower case; a missing status is UP; what is missing or null
// gets Eureka's default, and so does a text in countryId or a timestamp that is no
// number; lease values of 0 or less are 30 and 90 seconds;
// numbers may be texts, and texts numbers; unknown members are ignored; the
// last of several members of one name counts. A sid that Eureka doesn't write
// ("na", "unknown") is none.
//
// A missing lastDirtyTimestamp stays [NoTimestamp]: the caller sets it to now,
// as Eureka does. ActionType, LastUpdatedTimestamp, the lease's timestamps and
// IsCoordinatingDiscoveryServer are those of the document; a server sets its
// own.
//
// Refused are: no app; a data centre whose name isn't one of Eureka's three
// (readers would fail on it); Amazon's class without metadata; objects and
// arrays where a single value belongs, in metadata too; a document that isn't
// one object named instance and nothing else; text that isn't UTF-8, unless it is XML
// that declares ISO-8859-1, ISO-8859-15 or Windows-1252; numbers
// beyond 32 bits, 64 for timestamps; nesting beyond [MaxDepth].
//
// Taken, where Eureka's server answers 400: a port that is a plain number or
// has members of its own; a data centre without @class, with an unknown one, in
// another case, or with further members; arrays in unknown members. And the
// members of an unknown object are not taken for the instance's own.
//
// The error is a [DecodeError]. See [InstanceInfo.Check] for what comes next.
func DecodeInstance(f Format, body []byte) (*InstanceInfo, error) {
	if f == XML {
		return decodeXMLInstance(body)
	}
	return decodeJSONInstance(body)
}

// DecodeApplications reads a list answer as Eureka's own client does: a single
// object may stand for an array, unknown members are ignored, no applications
// are an empty list, a version that is missing is "-1". Compact answers leave
// the fields they don't tell at their defaults, LastDirtyTimestamp at
// [NoTimestamp].
func DecodeApplications(f Format, body []byte) (Applications, error) {
	if f == XML {
		return decodeXMLApplications(body)
	}
	return decodeJSONApplications(body)
}

// DecodeApplication reads the answer that holds one application, as
// [DecodeApplications] does.
func DecodeApplication(f Format, body []byte) (Application, error) {
	if f == XML {
		return decodeXMLApplication(body)
	}
	return decodeJSONApplication(body)
}

// byteOrderMark may stand in front of a body.
const byteOrderMark = "\ufeff"

// noVersion is the version of a list that tells none: its reader never asks for
// deltas.
const noVersion = "-1"

// newInstance returns an instance with Eureka's defaults.
func newInstance() *InstanceInfo {
	return &InstanceInfo{
		Status:             StatusUp,
		OverriddenStatus:   StatusUnknown,
		Port:               Port{Number: DefaultPort, Enabled: true},
		SecurePort:         Port{Number: DefaultSecurePort},
		CountryID:          DefaultCountryID,
		LeaseInfo:          newLease(),
		LastDirtyTimestamp: NoTimestamp,
	}
}

func newLease() LeaseInfo {
	return LeaseInfo{RenewalIntervalInSecs: DefaultRenewalInterval, DurationInSecs: DefaultDuration}
}

// positiveOr returns n if it is greater than 0, else the default.
func positiveOr(n, def int) int {
	if n > 0 {
		return n
	}
	return def
}

// knownSID drops the values that Eureka doesn't write, so that every node holds
// what its peers read.
func knownSID(s string) string {
	if !sentSID(s) {
		return ""
	}
	return s
}

// parseActionType returns the action type spelled s, else none.
func parseActionType(s string) ActionType {
	switch a := ActionType(s); a {
	case Added, Modified, Deleted:
		return a
	default:
		return ""
	}
}

// dataCenter returns the data centre of a document's class, name and metadata, each
// empty or nil if missing.
func dataCenter(class, name string, metadata map[string]string) (DataCenterInfo, error) {
	switch {
	case class == classAmazon:
		name = Amazon // Eureka's class goes before the name
	case name == "":
		// Present but nameless, which Check tells from absent.
		return DataCenterInfo{Metadata: map[string]string{}}, nil
	case strings.EqualFold(name, Amazon):
		name = Amazon
	case strings.EqualFold(name, MyOwn):
		name = MyOwn
	case strings.EqualFold(name, Netflix):
		name = Netflix
	default:
		return DataCenterInfo{}, errDCName
	}
	if name != Amazon {
		return DataCenterInfo{Name: name}, nil
	}
	if metadata == nil {
		metadata = map[string]string{}
	}
	return DataCenterInfo{Name: name, Metadata: metadata}, nil
}

// nameInstances gives the application's name to instances that tell no app.
func nameInstances(a *Application) {
	for _, i := range a.Instances {
		if i.App == "" {
			i.App = Upper(a.Name)
		}
	}
}

// validUTF8 returns a DecodeError unless body is UTF-8.
func validUTF8(f Format, body []byte) error {
	if utf8.Valid(body) {
		return nil
	}
	return &DecodeError{Format: f, Err: errUTF8}
}
