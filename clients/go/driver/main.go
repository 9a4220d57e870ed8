// What the conformance suite speaks to: a request a line on standard input, an answer a line on standard
// output (clients/conformance/README.md).
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log"
	"os"
	"time"

	banshi "banshi.example/client"
)

type asked struct {
	Op          string      `json:"op"`
	Job         string      `json:"job"`
	Lane        banshi.Lane `json:"lane"`
	Timeout     float64     `json:"timeout"`
	CancelAfter float64     `json:"cancel_after"`
	From        interface{} `json:"from"`
	Count       int         `json:"count"`
	Folder      string      `json:"folder"`
}

type object map[string]interface{}

func main() {
	client := banshi.New(os.Getenv("BANSHI_URL"))
	client.Prefix = os.Getenv("BANSHI_PREFIX")
	client.Logger = log.New(os.Stderr, "", 0)
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
		{banshi.ErrNotConfirmed, "not-confirmed"},
		{banshi.ErrRefused, "refused"},
		{context.DeadlineExceeded, "timed-out"},
		{context.Canceled, "cancelled"},
	} {
		if errors.Is(err, it.err) {
			return it.code
		}
	}
	return "other"
}

func answer(client *banshi.Client, it asked) (interface{}, error) {
	within := func() (context.Context, context.CancelFunc) {
		if it.Timeout == 0 {
			return context.WithCancel(context.Background())
		}
		return context.WithTimeout(context.Background(), time.Duration(it.Timeout*float64(time.Second)))
	}
	ctx, cancel := within()
	defer cancel()
	switch it.Op {
	case "send":
		return "confirmed", client.Send(ctx, []byte(it.Job), it.Lane)
	case "send_and_wait":
		if it.CancelAfter > 0 {
			time.AfterFunc(time.Duration(it.CancelAfter*float64(time.Second)), cancel)
		}
		outcome, err := client.SendAndWait(ctx, []byte(it.Job), banshi.Bulk)
		if err != nil {
			return nil, err
		}
		return told(outcome), nil
	case "events":
		start := it.From
		if offset, is := start.(float64); is {
			start = int64(offset)
		}
		events := client.Events(start)
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
			found = append(found, object{"offset": event.Offset, "id": event.ID, "type": event.Type, "job_id": event.JobID})
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
	}
	return nil, errors.New("no operation " + it.Op)
}

func told(outcome banshi.Outcome) object {
	switch it := outcome.(type) {
	case *banshi.Completed:
		return object{"outcome": "completed", "job_id": it.JobID, "event": it.Event.ID, "template": it.Template,
			"title": it.Title, "artifact": it.Artifact, "manifest": it.Manifest.URI, "warnings": it.Warnings}
	case *banshi.Rejected:
		return object{"outcome": "rejected", "job_id": it.JobID, "event": it.Event.ID, "problems": it.Problems}
	case *banshi.Failed:
		return object{"outcome": "failed", "job_id": it.JobID, "event": it.Event.ID, "code": it.Error.Code,
			"message": it.Error.Message, "attempts": it.Attempts}
	}
	return nil
}
