// What the conformance suite speaks to: a request a line on standard input, an answer a line on standard
// output (clients/conformance/README.md).
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	banshi "banshi.example/client"
)

type asked struct {
	Op            string            `json:"op"`
	Job           string            `json:"job"`
	JobID         string            `json:"job_id"`
	Lane          banshi.Lane       `json:"lane"`
	CorrelationID string            `json:"correlation_id"`
	Headers       map[string]string `json:"headers"`
	Timeout       float64           `json:"timeout"`
	CancelAfter   float64           `json:"cancel_after"`
	From          any               `json:"from"`
	Count         int               `json:"count"`
	Folder        string            `json:"folder"`
}

type object map[string]any

func main() {
	client := banshi.New(os.Getenv("BANSHI_URL"))
	client.Prefix = os.Getenv("BANSHI_PREFIX")
	client.Logger = log.New(os.Stderr, "", 0)
	if path := os.Getenv("BANSHI_CA"); path != "" {
		authority, err := os.ReadFile(path)
		if err != nil {
			log.Panic(err)
		}
		client.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
		client.TLS.RootCAs.AppendCertsFromPEM(authority)
	}
	defer client.Close()
	lines := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var it asked
		if err := json.Unmarshal(line, &it); err != nil {
			log.Panic(err)
		}
		said, err := answer(client, it)
		if err != nil {
			err = out.Encode(object{"error": code(err), "message": err.Error()})
		} else {
			err = out.Encode(object{"ok": said})
		}
		if err != nil {
			log.Panic(err)
		}
	}
}

func code(err error) string {
	for _, it := range []struct {
		err  error
		code string
	}{
		{banshi.ErrInvalidJob, "invalid-job"},
		{banshi.ErrNoSuchLane, "no-such-lane"},
		{banshi.ErrQueueFull, "queue-full"},
		{context.Canceled, "cancelled"}, // which a send that is cancelled is, and not confirmed
		{banshi.ErrNotConfirmed, "not-confirmed"},
		{banshi.ErrRefused, "refused"},
		{banshi.ErrUnknownEvent, "unknown-event"},
		{banshi.ErrClosed, "closed"},
		{context.DeadlineExceeded, "timed-out"},
	} {
		if errors.Is(err, it.err) {
			return it.code
		}
	}
	return "other"
}

// start is a place in the log, as it is asked for.
func start(from any) banshi.Start {
	switch it := from.(type) {
	case float64:
		return banshi.At(int64(it))
	case string:
		return map[string]banshi.Start{"first": banshi.First, "last": banshi.Last, "next": banshi.Next}[it]
	}
	return banshi.First
}

func answer(client *banshi.Client, it asked) (any, error) {
	within := func() (context.Context, context.CancelFunc) {
		if it.Timeout == 0 {
			return context.WithCancel(context.Background())
		}
		return context.WithTimeout(context.Background(), time.Duration(it.Timeout*float64(time.Second)))
	}
	ctx, cancel := within()
	defer cancel()
	if it.CancelAfter > 0 {
		time.AfterFunc(time.Duration(it.CancelAfter*float64(time.Second)), cancel)
	}
	switch it.Op {
	case "send":
		options := []banshi.Option{banshi.CorrelationID(it.CorrelationID)}
		for name, value := range it.Headers {
			options = append(options, banshi.Header(name, value))
		}
		err := client.Send(ctx, []byte(it.Job), it.Lane, options...)
		if errors.Is(err, context.Canceled) && !errors.Is(err, banshi.ErrNotConfirmed) {
			return nil, fmt.Errorf("it reads as confirmed: %v", err)
		}
		return "confirmed", err
	case "send_and_wait":
		outcome, err := client.SendAndWait(ctx, []byte(it.Job), banshi.Bulk, banshi.CorrelationID(it.CorrelationID))
		return told(outcome), err
	case "wait":
		outcome, err := client.Wait(ctx, it.JobID, start(it.From), it.CorrelationID)
		return told(outcome), err
	case "events":
		events := client.Events(start(it.From))
		defer events.Close()
		found := []object{}
		for len(found) < it.Count {
			idle, cancel := within()
			event, err := events.Next(idle)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			outcome, err := event.Outcome()
			if err != nil {
				return nil, err
			}
			said := told(outcome)
			said["offset"], said["id"], said["source"], said["type"] = event.Offset, event.ID, event.Source, event.Type
			if said["job_id"] = nil; event.JobID != "" {
				said["job_id"] = event.JobID
			}
			found = append(found, said)
		}
		return found, nil
	case "outbox_put", "outbox_flush":
		outbox, err := banshi.NewOutbox(it.Folder)
		if err != nil {
			return nil, err
		}
		if it.Op == "outbox_put" {
			return "kept", outbox.Put([]byte(it.Job), it.Lane)
		}
		return outbox.Flush(ctx, client)
	case "close":
		return "closed", client.Close()
	}
	return nil, errors.New("no operation " + it.Op)
}

// told is an outcome, in the names of its event's data.
func told(outcome banshi.Outcome) object {
	switch it := outcome.(type) {
	case *banshi.Completed:
		return object{"outcome": "completed", "event": it.Event.ID, "data": it}
	case *banshi.Rejected:
		return object{"outcome": "rejected", "event": it.Event.ID, "data": it}
	case *banshi.Failed:
		return object{"outcome": "failed", "event": it.Event.ID, "data": it}
	}
	return nil
}
