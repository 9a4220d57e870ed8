// Package banshi sends report jobs to banshi over RabbitMQ, and says what became of them.
//
// It takes jobs as JSON, and gives confirmations, typed results and events. It never drops a job
// silently: a call that returns nil was confirmed. If we crash here, a job that was not confirmed may or
// may not be there: send it again, with the same job_id, which is harmless; [Outbox] keeps it until then.
package banshi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Why a job was not sent, or its end is not known. Test for them with [errors.Is].
var (
	// ErrInvalidJob: not a JSON object with a job_id, or its correlation id is too long; nothing was sent.
	ErrInvalidJob = errors.New("the job is not valid")
	// ErrNoSuchLane: no queue takes this lane: it is misspelt, or banshi's queues are not there.
	ErrNoSuchLane = errors.New("no such lane")
	// ErrQueueFull: the broker refused the job, for its lane is full: wait, and send it again.
	ErrQueueFull = errors.New("the lane is full")
	// ErrNotConfirmed: no confirmation in time, or the context was cancelled before there was one (the
	// error is context.Canceled, too, then); the job may or may not be there: send it again.
	ErrNotConfirmed = errors.New("no confirmation in time")
	// ErrRefused: the broker says that we may not, or that something is not there, or we do not trust its
	// certificate.
	ErrRefused = errors.New("the broker refuses")
	// ErrUnknownEvent: the log has what this version does not know.
	ErrUnknownEvent = errors.New("not an event of banshi")
	// ErrClosed: the client was closed before; nothing was sent.
	ErrClosed = errors.New("the client is closed")
)

// Lane is where a job waits.
type Lane string

// The lanes.
const (
	Bulk   Lane = "bulk"
	Urgent Lane = "urgent"
)

// Problem is what is wrong (docs/problems.md). Path is a JSON Pointer (RFC 6901) into the job.
type Problem struct {
	Code      string `json:"code"`
	Path      string `json:"path"`
	Message   string `json:"message"`
	MessageZh string `json:"message_zh"`
	Expected  string `json:"expected,omitempty"`
	Actual    string `json:"actual,omitempty"`
}

// Artifact is the PDF that was stored. Bytes is its size; compare SHA256 with what you fetch.
type Artifact struct {
	URI       string `json:"uri"`
	MediaType string `json:"media_type"`
	Bytes     int64  `json:"bytes"`
	SHA256    string `json:"sha256"`
	Pages     int    `json:"pages"`
	Standard  string `json:"standard"`
}

// Companion is the same report in another format, beside its PDF, where banshi is set to make some.
type Companion struct {
	Format    string `json:"format"`
	URI       string `json:"uri"`
	MediaType string `json:"media_type"`
	SHA256    string `json:"sha256"`
	Bytes     int64  `json:"bytes"`
}

// Event is a CloudEvent of banshi. JobID is empty when it could not be read; Offset is its place in the
// log; Body is all of it.
type Event struct {
	ID     string          `json:"id"`
	Source string          `json:"source"`
	Type   string          `json:"type"`
	Time   time.Time       `json:"time"`
	JobID  string          `json:"subject"`
	Data   json.RawMessage `json:"data"`
	Offset int64           `json:"-"`
	Body   []byte          `json:"-"`
}

// Outcome is what became of a job: *Completed, *Rejected or *Failed.
type Outcome interface{ outcome() }

// Completed: the PDF and its manifest are stored.
type Completed struct {
	JobID      string      `json:"job_id"`
	Template   string      `json:"template"`
	Agency     string      `json:"agency"`
	Year       int         `json:"year"`
	Title      string      `json:"title"`
	Artifact   Artifact    `json:"artifact"`
	Companions []Companion `json:"companions,omitempty"`
	Manifest   struct {
		URI string `json:"uri"`
	} `json:"manifest"`
	Warnings []Problem `json:"warnings"`
	Event    Event     `json:"-"`
}

// Rejected: the job can never succeed as it is. JobID is empty when it could not be read.
type Rejected struct {
	JobID    string    `json:"job_id,omitempty"`
	Problems []Problem `json:"problems"`
	Event    Event     `json:"-"`
}

// Failed: the job might have succeeded; Error.Code is the part that failed. It may be sent again.
type Failed struct {
	JobID string `json:"job_id,omitempty"`
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Attempts int   `json:"attempts"`
	Event    Event `json:"-"`
}

func (*Completed) outcome() {}
func (*Rejected) outcome()  {}
func (*Failed) outcome()    {}

// Outcome says what became of the event's job.
func (e Event) Outcome() (Outcome, error) {
	var into Outcome
	switch e.Type {
	case "report.completed":
		into = &Completed{Event: e}
	case "report.rejected":
		into = &Rejected{Event: e}
	case "report.failed":
		into = &Failed{Event: e}
	default:
		return nil, fmt.Errorf("event %s is a %s: %w", e.ID, e.Type, ErrUnknownEvent)
	}
	if err := json.Unmarshal(e.Data, into); err != nil {
		return nil, fmt.Errorf("event %s: %w: %v", e.ID, ErrUnknownEvent, err)
	}
	return into, nil
}

// Logger is what a client logs with.
type Logger interface {
	Printf(format string, values ...any)
}

// Client is a sender and reader, for any number of goroutines; it connects when it first needs to.
type Client struct {
	// Prefix of the names at the broker, the operator's to change.
	Prefix string
	// Timeout is how long a call may take to send a job and have it confirmed, where the context does not
	// end before.
	Timeout time.Duration
	// Logger is told of lost connections; a *log.Logger is one.
	Logger Logger
	// TLS says whom to trust behind amqps://, and who we are; nil trusts the system's authorities.
	TLS *tls.Config

	url    string
	turn   chan struct{} // one job is on its way at a time: a return does not say whose it is
	sender *sender
	closed atomic.Bool
}

// New returns a client of the broker at this URL, with the prefix banshi and thirty seconds for a job.
func New(url string) *Client {
	return &Client{
		Prefix:  "banshi",
		Timeout: 30 * time.Second,
		Logger:  log.New(io.Discard, "", 0),
		url:     url,
		turn:    make(chan struct{}, 1),
	}
}

// Close ends the connection; its error is always nil. All that was sent is confirmed already. A client
// that is closed connects no more: what needs a connection then ends with ErrClosed.
func (c *Client) Close() error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.closed.Store(true)
	c.drop()
	return nil
}

// An Option is of how a job is sent.
type Option func(*amqp.Publishing)

// CorrelationID is yours, and comes back on the event; 255 bytes at most, and empty is none.
func CorrelationID(id string) Option {
	return func(message *amqp.Publishing) { message.CorrelationId = id }
}

// Header is one of the message, as traceparent and tracestate.
func Header(name, value string) Option {
	return func(message *amqp.Publishing) {
		if message.Headers == nil {
			message.Headers = amqp.Table{}
		}
		message.Headers[name] = value
	}
}

// Send sends a job; it returns nil once the broker has it safe. A connection that is lost before that is
// made anew and the job is sent again.
func (c *Client) Send(ctx context.Context, job []byte, lane Lane, options ...Option) error {
	message, err := prepare(job, lane, options)
	if err != nil {
		return err
	}
	return c.send(ctx, lane, message)
}

func (c *Client) send(ctx context.Context, lane Lane, message amqp.Publishing) error {
	jobID := message.MessageId
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return notConfirmed(jobID, ctx.Err(), nil)
	}
	if c.closed.Load() {
		return fmt.Errorf("job %s was not sent: %w", jobID, ErrClosed)
	}
	var doubts doubts
	for pause := firstPause; ; pause = pause.longer() {
		var err error
		if c.sender == nil {
			c.sender, err = c.dialSender(ctx)
		}
		if c.sender != nil {
			err = c.sender.publish(ctx, c.Prefix+".jobs", lane, message)
		}
		switch {
		case err == nil, errors.Is(err, ErrQueueFull), errors.Is(err, ErrNoSuchLane):
			return err // the connection is as good as before
		}
		c.drop() // a confirmation that comes late must not be taken for the next job's
		if ctx.Err() != nil {
			return notConfirmed(jobID, ctx.Err(), err)
		}
		if doubts.refused(err) {
			return fmt.Errorf("job %s: %w: %v", jobID, ErrRefused, err)
		}
		c.Logger.Printf("banshi: job %s is not confirmed yet, sending it again: %v", jobID, err)
		if !pause.rest(ctx) {
			return notConfirmed(jobID, ctx.Err(), err)
		}
	}
}

// SendAndWait sends a job and waits for its event in the log of events, over lost connections too, until
// the context ends: then the job was confirmed or the error is ErrNotConfirmed, too. The event is known by
// its correlation id, which must be of this job alone, and is made here where no option gives one.
func (c *Client) SendAndWait(ctx context.Context, job []byte, lane Lane, options ...Option) (Outcome, error) {
	message, err := prepare(job, lane, options)
	if err != nil {
		return nil, err
	}
	jobID := message.MessageId
	if message.CorrelationId == "" {
		if message.CorrelationId, err = random(16); err != nil {
			return nil, err
		}
	}
	events := c.Events(Last)
	defer events.Close()
	if err := events.attach(ctx); err != nil { // before the job is there: its event can't be missed
		if ctx.Err() != nil {
			return nil, notConfirmed(jobID, ctx.Err(), err)
		}
		return nil, err
	}
	if err := c.send(ctx, lane, message); err != nil {
		return nil, err
	}
	return events.find(ctx, jobID, message.CorrelationId)
}

// Wait says what became of a job that was sent before, by whomever: at once, where it has ended. That is
// the first event of it from a place on, and, where correlationID is not empty, of that sending. What is no
// event of banshi is passed over, and logged.
func (c *Client) Wait(ctx context.Context, jobID string, from Start, correlationID string) (Outcome, error) {
	events := c.Events(from)
	defer events.Close()
	return events.find(ctx, jobID, correlationID)
}

// Start is where in the log of thirty days to begin.
type Start struct{ offset any }

// Places in the log.
var (
	First = Start{"first"}
	Last  = Start{"last"}
	Next  = Start{"next"} // only new ones
)

// At is the event of this offset.
func At(offset int64) Start { return Start{offset} }

// Since is a little before this time.
func Since(moment time.Time) Start { return Start{moment} }

// Events returns the events of thirty days from a place on.
func (c *Client) Events(from Start) *Events {
	return &Events{client: c, queue: c.Prefix + ".events.log", start: from}
}

func (c *Client) drop() {
	if c.sender != nil {
		closeInTime(c.sender.connection)
		c.sender = nil
	}
}

// remembered is among how many events repeats are dropped.
const remembered = 100_000

// clocks is how far clocks may differ.
const clocks = 5 * time.Minute

// Events is the stream of events, read on where it was when a connection is lost; repeats are dropped.
// It is for one goroutine.
type Events struct {
	client     *Client
	queue      string
	start      Start
	connection *amqp.Connection
	arrived    <-chan amqp.Delivery
	seen       map[string]struct{}
	order      []string
}

// Next returns the next event, or the context's error when there was none in time; you may go on then.
// Keep Offset+1 with what you made of it, to go on there.
func (e *Events) Next(ctx context.Context) (Event, error) {
	for {
		event, _, err := e.take(ctx)
		if err != nil {
			return Event{}, err
		}
		key := event.Source + " " + event.ID
		if _, is := e.seen[key]; is {
			continue
		}
		if e.seen == nil {
			e.seen = make(map[string]struct{})
		}
		e.seen[key] = struct{}{}
		if e.order = append(e.order, key); len(e.order) > remembered {
			delete(e.seen, e.order[0])
			e.order = e.order[1:]
		}
		return event, nil
	}
}

// Close ends the connection; its error is always nil.
func (e *Events) Close() error {
	if e.connection != nil {
		closeInTime(e.connection)
		e.connection, e.arrived = nil, nil
	}
	return nil
}

// attach begins to listen.
func (e *Events) attach(ctx context.Context) error {
	var doubts doubts
	for pause := firstPause; ; pause = pause.longer() {
		if e.client.closed.Load() {
			return fmt.Errorf("no events from the broker: %w", ErrClosed)
		}
		err := e.consume(ctx)
		if err == nil {
			switch e.start { // where to go on if the connection is lost before anything arrived
			case Last: // then nothing was there
				e.start = First
			case Next: // rather some events from before than to miss one
				e.start = Since(time.Now().Add(-clocks))
			}
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("no events from the broker: %w", ctx.Err())
		}
		if doubts.refused(err) {
			return fmt.Errorf("%s: %w: %v", e.queue, ErrRefused, err)
		}
		e.client.Logger.Printf("banshi: no events from the broker, trying again: %v", err)
		if !pause.rest(ctx) {
			return fmt.Errorf("no events from the broker: %w (%v)", ctx.Err(), err)
		}
	}
}

func (e *Events) consume(ctx context.Context) error {
	var arrived <-chan amqp.Delivery
	connection, err := e.client.dial(ctx, func(connection *amqp.Connection) error {
		channel, err := connection.Channel()
		if err != nil {
			return err
		}
		if err := channel.Qos(100, 0, false); err != nil {
			return err
		}
		from := amqp.Table{"x-stream-offset": e.start.offset}
		arrived, err = channel.Consume(e.queue, "", false, false, false, false, from)
		return err
	})
	if err == nil {
		e.connection, e.arrived = connection, arrived
	}
	return err
}

func (e *Events) take(ctx context.Context) (Event, string, error) {
	for {
		if e.arrived == nil {
			if err := e.attach(ctx); err != nil {
				return Event{}, "", err
			}
		}
		select {
		case <-ctx.Done():
			return Event{}, "", fmt.Errorf("no event in time: %w", ctx.Err())
		case message, is := <-e.arrived:
			if !is {
				e.client.Logger.Printf("banshi: the connection is lost, reading events on from %v", e.start.offset)
				_ = e.Close()
				continue
			}
			offset, is := message.Headers["x-stream-offset"].(int64)
			if !is {
				return Event{}, "", fmt.Errorf("%s is no stream: %w", e.queue, ErrRefused)
			}
			e.start = At(offset + 1)
			err := message.Ack(false)
			if err != nil {
				e.client.Logger.Printf("banshi: the connection is lost: %v", err) // the channel of messages ends, too
			}
			event := Event{Offset: offset}
			if event.Body, err = structured(message); err == nil {
				err = json.Unmarshal(event.Body, &event)
			}
			if err == nil && (event.ID == "" || event.Type == "") {
				err = errors.New("it has no id or no type")
			}
			if err != nil {
				return Event{}, "", fmt.Errorf("%s at offset %d: %w: %v", e.queue, offset, ErrUnknownEvent, err)
			}
			return event, message.CorrelationId, nil
		}
	}
}

// find returns what became of a job; what is no event of banshi does not end it.
func (e *Events) find(ctx context.Context, jobID, correlationID string) (Outcome, error) {
	for {
		event, its, err := e.take(ctx)
		if err == nil {
			if event.JobID != jobID || correlationID != "" && its != correlationID {
				continue
			}
			var outcome Outcome
			if outcome, err = event.Outcome(); err == nil {
				return outcome, nil
			}
		}
		if !errors.Is(err, ErrUnknownEvent) {
			return nil, err
		}
		e.client.Logger.Printf("banshi: passed over: %v", err)
	}
}

// structured returns an event whole, in whichever of CloudEvents' two modes its message has it.
func structured(message amqp.Delivery) ([]byte, error) {
	if strings.HasPrefix(message.ContentType, "application/cloudevents") {
		return message.Body, nil
	}
	event := map[string]any{"datacontenttype": message.ContentType, "data": json.RawMessage(message.Body)}
	var data struct {
		JobID *string `json:"job_id"`
	}
	if err := json.Unmarshal(message.Body, &data); err != nil {
		return nil, err
	}
	if data.JobID != nil { // not every subject can stand in a header
		event["subject"] = *data.JobID
	}
	for name, value := range message.Headers {
		if strings.HasPrefix(name, "ce-") {
			event[name[len("ce-"):]] = value
		}
	}
	return json.Marshal(event)
}

// sender is a connection with confirms.
type sender struct {
	connection *amqp.Connection
	channel    *amqp.Channel
	confirmed  <-chan amqp.Confirmation
	returned   <-chan amqp.Return
	closed     <-chan *amqp.Error
}

func (c *Client) dialSender(ctx context.Context) (*sender, error) {
	var channel *amqp.Channel
	connection, err := c.dial(ctx, func(connection *amqp.Connection) (err error) {
		if channel, err = connection.Channel(); err == nil {
			err = channel.Confirm(false)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &sender{
		connection: connection,
		channel:    channel,
		confirmed:  channel.NotifyPublish(make(chan amqp.Confirmation, 1)),
		returned:   channel.NotifyReturn(make(chan amqp.Return, 1)),
		closed:     channel.NotifyClose(make(chan *amqp.Error, 1)),
	}, nil
}

func (s *sender) publish(ctx context.Context, exchange string, lane Lane, message amqp.Publishing) error {
	if err := s.channel.PublishWithContext(ctx, exchange, string(lane), true, false, message); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case confirmation, is := <-s.confirmed:
		if !is {
			if err := <-s.closed; err != nil {
				return err
			}
			return amqp.ErrClosed
		}
		select {
		case it := <-s.returned: // before its confirmation
			return fmt.Errorf("no queue takes lane %s of %s: %w: %d %s", lane, exchange, ErrNoSuchLane, it.ReplyCode, it.ReplyText)
		default:
		}
		if !confirmation.Ack {
			return fmt.Errorf("lane %s of %s: %w: wait, and send the job again", lane, exchange, ErrQueueFull)
		}
		return nil
	}
}

// dial connects, and makes the connection ready; it gives up, wherever it is, when the context ends or
// after ten seconds.
func (c *Client) dial(ctx context.Context, ready func(*amqp.Connection) error) (*amqp.Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var watch sync.WaitGroup
	done := make(chan struct{})
	config := amqp.Config{Heartbeat: 10 * time.Second, Locale: "en_US"}
	config.Dial = func(network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		watch.Add(1)
		go func() {
			defer watch.Done()
			select {
			case <-done:
			case <-ctx.Done():
				_ = conn.Close() // which ends all that waits for the broker's answer
			}
		}()
		return conn, nil
	}
	if c.TLS != nil {
		config.TLSClientConfig = c.TLS.Clone() // into which it writes the host's name
	}
	connection, err := amqp.DialConfig(c.url, config)
	if err == nil {
		err = ready(connection)
	}
	close(done)
	watch.Wait() // the context is cancelled next
	if err == nil {
		return connection, nil
	}
	if connection != nil {
		closeInTime(connection)
	}
	if ctx.Err() != nil { // the library may take it for wrong credentials
		err = fmt.Errorf("the broker did not answer in time: %v", err)
	}
	return nil, err
}

// closeInTime ends a connection with nothing on its way, without waiting for a broker that is silent.
func closeInTime(connection *amqp.Connection) {
	closed := make(chan struct{})
	go func() { // ends with the connection, which its missed heartbeats end
		defer close(closed)
		_ = connection.Close() // an error says that it is closed already
	}()
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}

// doubts counts handshakes in a row that ended early: amqp091-go takes all of them for wrong credentials,
// those too that a broker left as it went away.
type doubts int

// refused says whether another try would not change an error.
func (d *doubts) refused(err error) bool {
	if errors.Is(err, amqp.ErrCredentials) || errors.Is(err, amqp.ErrVhost) {
		*d++
		return *d == 3
	}
	*d = 0
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	if errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &host) {
		return true
	}
	var its *amqp.Error
	if !errors.As(err, &its) {
		return false
	}
	switch its.Code {
	case amqp.AccessRefused, amqp.NotFound, amqp.PreconditionFailed, amqp.NotAllowed, amqp.ResourceLocked:
		return true
	}
	return false
}

func notConfirmed(jobID string, ended, last error) error {
	if last == nil {
		last = ended
	}
	err := fmt.Errorf("job %s may or may not be there, send it again: %w (%v)", jobID, ErrNotConfirmed, last)
	if errors.Is(ended, context.Canceled) {
		return &cancelled{err}
	}
	return err
}

// cancelled is an error of a call that the caller ended; it is context.Canceled, too.
type cancelled struct{ error }

func (c *cancelled) Is(target error) bool { return target == context.Canceled }

func (c *cancelled) Unwrap() error { return c.error }

// pause is between two tries to reach the broker.
type pause time.Duration

const firstPause = pause(100 * time.Millisecond)

func (p pause) longer() pause {
	if p >= pause(5*time.Second)/2 {
		return pause(5 * time.Second)
	}
	return 2 * p
}

func (p pause) rest(ctx context.Context) bool {
	timer := time.NewTimer(time.Duration(p))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

var jobIDs = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// prepare makes a job's message, whose id is the job's.
func prepare(job []byte, lane Lane, options []Option) (amqp.Publishing, error) {
	jobID, err := readJob(job)
	if err == nil {
		err = lane.check()
	}
	message := amqp.Publishing{
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		MessageId:    jobID,
		Body:         job,
	}
	for _, option := range options {
		option(&message)
	}
	if length := len(message.CorrelationId); err == nil && length > 255 { // AMQP's short string
		err = fmt.Errorf("%w: its correlation id has %d bytes; there may be 255", ErrInvalidJob, length)
	}
	return message, err
}

// readJob returns a job's id.
func readJob(job []byte) (string, error) {
	var read struct {
		JobID *string `json:"job_id"`
	}
	text := bytes.TrimPrefix(job, []byte("\ufeff")) // a byte-order mark, which the service takes
	if err := json.Unmarshal(text, &read); err != nil {
		return "", fmt.Errorf("%w: it must be a JSON object with a job_id: %v", ErrInvalidJob, err)
	}
	if read.JobID == nil || !jobIDs.MatchString(*read.JobID) {
		return "", fmt.Errorf("%w: job_id must be 1-128 of A-Z a-z 0-9 . _ -, a letter or digit first", ErrInvalidJob)
	}
	return *read.JobID, nil
}

func (l Lane) check() error {
	if l != Bulk && l != Urgent {
		return fmt.Errorf("lane %q: %w: there are bulk and urgent", string(l), ErrNoSuchLane)
	}
	return nil
}

func random(bytes int) (string, error) {
	it := make([]byte, bytes)
	if _, err := rand.Read(it); err != nil {
		return "", err
	}
	return hex.EncodeToString(it), nil
}
