package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	banshi "banshi.example/client"
)

func main() {
	client := banshi.New("amqp://guest:guest@127.0.0.1:5672/%2f")
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for _, path := range os.Args[1:] {
		job, err := os.ReadFile(path)
		if err != nil {
			log.Fatal(err)
		}
		outcome, err := client.SendAndWait(ctx, job, banshi.Bulk)
		if err != nil {
			log.Fatal(err)
		}
		switch it := outcome.(type) {
		case *banshi.Completed:
			fmt.Println(it.JobID, it.Artifact.URI)
		case *banshi.Rejected:
			for _, problem := range it.Problems {
				fmt.Println(it.JobID, problem.Code, problem.Path, problem.MessageZh)
			}
		case *banshi.Failed:
			fmt.Println(it.JobID, it.Error.Code, it.Error.Message)
		}
	}
}
