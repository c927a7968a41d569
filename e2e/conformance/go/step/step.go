// Package step runs a client's steps again and again and prints one JSON line for each.
package step

import (
	"encoding/json"
	"os"
	"time"
)

// Pause between two rounds.
const pause = time.Second

// Step is one thing that an agent does. Run gives the credential's public name, where the client knows it.
type Step struct {
	Name string
	Run  func() (key string, err error)
	// Refusal tells whether an error is the SDK's own word for a denied call; a step that has it is fine when it is refused.
	Refusal func(error) bool
}

type line struct {
	Step  string `json:"step"`
	OK    bool   `json:"ok"`
	Key   string `json:"key"`
	Error string `json:"error"`
}

// Loop never ends.
func Loop(steps ...Step) {
	out := json.NewEncoder(os.Stdout)
	for {
		for _, s := range steps {
			key, err := s.Run()
			said := line{Step: s.Name, OK: err == nil, Key: key}
			if s.Refusal != nil {
				said.OK = err != nil && s.Refusal(err)
			}
			if err != nil {
				said.Error = err.Error()
			}
			if out.Encode(said) != nil {
				os.Exit(1)
			}
		}
		time.Sleep(pause)
	}
}
