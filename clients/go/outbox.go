package banshi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Outbox is jobs that are to be sent, in a folder, where they survive a crash of the sender.
//
// A file is a job, NUMBER-RANDOM.LANE.json, sent in the order of the numbers and removed once it is
// confirmed. If we crash in between, it is sent again, which is harmless.
type Outbox struct{ folder string }

// NewOutbox returns the outbox in a folder, which is made if it isn't there.
func NewOutbox(folder string) (*Outbox, error) {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return nil, err
	}
	return &Outbox{folder: folder}, nil
}

// Put keeps a job; when it returns nil it is on the disk.
func (o *Outbox) Put(job []byte, lane Lane) error {
	if _, err := readJob(job); err != nil {
		return err
	}
	if err := lane.check(); err != nil {
		return err
	}
	unlike, err := random(4)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%020d-%s.%s.json", number(), unlike, lane)
	part := filepath.Join(o.folder, "."+name+".part")
	file, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer os.Remove(part) // it is there where something fails only
	_, err = file.Write(job)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := os.Rename(part, filepath.Join(o.folder, name)); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil // which syncs no folders
	}
	folder, err := os.Open(o.folder)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// Waiting returns the names of the jobs that are kept, the first first.
func (o *Outbox) Waiting() ([]string, error) {
	entries, err := os.ReadDir(o.folder) // in the order of the names
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".json") && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names, nil
}

// Flush sends all, and returns how many; an error leaves its job and those after it kept.
func (o *Outbox) Flush(ctx context.Context, client *Client) (int, error) {
	names, err := o.Waiting()
	if err != nil {
		return 0, err
	}
	sent := 0
	for _, name := range names {
		path := filepath.Join(o.folder, name)
		job, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process sent it meanwhile
		}
		if err != nil {
			return sent, err
		}
		parts := strings.Split(name, ".")
		lane := Lane("")
		if len(parts) > 2 {
			lane = Lane(parts[len(parts)-2])
		}
		if err := client.Send(ctx, job, lane); err != nil {
			return sent, err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

var numbers struct {
	sync.Mutex
	last int64
}

// number is the moment in nanoseconds, and more than the one before, in whichever outbox that was.
func number() int64 {
	numbers.Lock()
	defer numbers.Unlock()
	numbers.last++
	if now := time.Now().UnixNano(); now > numbers.last {
		numbers.last = now
	}
	return numbers.last
}
