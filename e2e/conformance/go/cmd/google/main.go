// golang.org/x/oauth2/google with application default credentials.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"exeat.dev/e2e/conformance/step"
)

const scope = "https://www.googleapis.com/auth/cloud-platform"

var errForbidden = errors.New("403 Forbidden")

func keyOf(token *oauth2.Token) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(token.AccessToken)))[:12]
}

func get(client *http.Client, bucket, object string) error {
	response, err := client.Get(os.Getenv("STORAGE") + "/storage/v1/b/" + bucket + "/o/" + url.PathEscape(object) + "?alt=media")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusForbidden:
		return errForbidden
	default:
		return errors.New(response.Status)
	}
}

func main() {
	ctx := context.Background()
	credentials, err := google.FindDefaultCredentials(ctx, scope)
	if err != nil {
		log.Fatal(err)
	}
	client := oauth2.NewClient(ctx, credentials.TokenSource)
	step.Loop(
		step.Step{Name: "fetch", Run: func() (string, error) {
			fresh, err := google.FindDefaultCredentials(ctx, scope)
			if err != nil {
				return "", err
			}
			token, err := fresh.TokenSource.Token()
			if err != nil {
				return "", err
			}
			return keyOf(token), nil
		}},
		step.Step{Name: "use", Run: func() (string, error) {
			if err := get(client, "reports", "2026/q3.txt"); err != nil {
				return "", err
			}
			token, err := credentials.TokenSource.Token()
			if err != nil {
				return "", err
			}
			return keyOf(token), nil
		}},
		step.Step{Name: "denied", Run: func() (string, error) {
			return "", get(client, "payroll", "salaries.txt")
		}, Refusal: func(err error) bool { return errors.Is(err, errForbidden) }},
	)
}
