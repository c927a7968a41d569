// HashiCorp's Go client of Vault as its environment configures it.
package main

import (
	"context"
	"errors"
	"log"
	"net/http"

	"github.com/hashicorp/vault/api"

	"exeat.dev/e2e/conformance/step"
)

func connect() (*api.Client, error) {
	return api.NewClient(api.DefaultConfig())
}

func read(client *api.Client, path string) error {
	_, err := client.KVv2("secret").Get(context.Background(), path)
	return err
}

func main() {
	client, err := connect()
	if err != nil {
		log.Fatal(err)
	}
	step.Loop(
		step.Step{Name: "fetch", Run: func() (string, error) {
			fresh, err := connect()
			if err != nil {
				return "", err
			}
			return "", read(fresh, "reports/q3")
		}},
		step.Step{Name: "use", Run: func() (string, error) { return "", read(client, "reports/q3") }},
		step.Step{Name: "denied", Run: func() (string, error) { return "", read(client, "reports/salaries") }, Refusal: func(err error) bool {
			var refused *api.ResponseError
			return errors.As(err, &refused) && refused.StatusCode == http.StatusForbidden
		}},
	)
}
