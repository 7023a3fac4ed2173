package schedules

import (
	"net/http"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// kinds maps the errors of the packages below.
var kinds = rest.Kinds{
	{Is: delay.ErrNotPending, Status: http.StatusNotFound, Code: "not_pending"},
	{Is: partition.ErrNoSchedule, Status: http.StatusNotFound, Code: "no_schedule"},
	{Is: record.ErrInvalid, Status: http.StatusBadRequest, Code: "bad_request"},
	{Is: partition.ErrLoading, Status: http.StatusServiceUnavailable, Code: "loading"},
	{Is: partition.ErrNotHere, Status: http.StatusServiceUnavailable, Code: "not_here"},
	{Is: partition.ErrOffline, Status: http.StatusServiceUnavailable, Code: "offline"},
	{Is: log.ErrNoSpace, Status: http.StatusServiceUnavailable, Code: "no_space"},
}
