// Package crilog writes container output in the log format of the Kubernetes
// container runtime interface (design proposal "CRI: logging"): each record is
//
//	2026-01-02T15:04:05.000000000Z stdout F the line
//
// with F for a full line and P for a part of one. Start at [Append] for the
// format, and at [Stream] for a container's FIFO that becomes a log.
package crilog

import (
	"bytes"
	"time"
)

// MaxLine is the longest part of a line that one record carries, in bytes.
const MaxLine = 16 << 10

// Append turns data into records, appends them to dst, and says how many bytes
// of data they cover. A last line without its end is left over, unless it is
// longer than MaxLine or final is set; then it becomes a P record.
func Append(dst []byte, now time.Time, stream string, data []byte, final bool) (records []byte, used int) {
	for used < len(data) {
		rest := data[used:]
		end := bytes.IndexByte(rest[:min(len(rest), MaxLine+1)], '\n')
		switch {
		case end >= 0:
			dst = appendRecord(dst, now, stream, 'F', rest[:end])
			used += end + 1
		case len(rest) >= MaxLine:
			dst = appendRecord(dst, now, stream, 'P', rest[:MaxLine])
			used += MaxLine
		case final:
			dst = appendRecord(dst, now, stream, 'P', rest)
			used = len(data)
		default:
			return dst, used
		}
	}
	return dst, used
}

func appendRecord(dst []byte, now time.Time, stream string, tag byte, line []byte) []byte {
	dst = now.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000000Z07:00")
	dst = append(dst, ' ')
	dst = append(dst, stream...)
	dst = append(dst, ' ', tag, ' ')
	dst = append(dst, line...)
	return append(dst, '\n')
}
