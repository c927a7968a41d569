// azidentity with its default chain.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"exeat.dev/e2e/conformance/step"
)

const (
	granted = "https://storage.azure.com/.default"
	other   = "https://vault.azure.net/.default"
)

func token(credential *azidentity.DefaultAzureCredential, scope string) (string, error) {
	token, err := credential.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{scope}})
	return token.Token, err
}

func keyOf(token string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(token)))[:12]
}

func call(token string) error {
	request, err := http.NewRequest(http.MethodGet, os.Getenv("SERVICES")+"/blobs/q3", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

func main() {
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	step.Loop(
		step.Step{Name: "fetch", Run: func() (string, error) {
			fresh, err := azidentity.NewDefaultAzureCredential(nil)
			if err != nil {
				return "", err
			}
			held, err := token(fresh, granted)
			return keyOf(held), err
		}},
		step.Step{Name: "use", Run: func() (string, error) {
			held, err := token(credential, granted)
			if err != nil {
				return "", err
			}
			return keyOf(held), call(held)
		}},
		step.Step{Name: "denied", Run: func() (string, error) {
			_, err := token(credential, other)
			return "", err
		}, Refusal: func(err error) bool {
			var refused *azidentity.AuthenticationFailedError
			return errors.As(err, &refused)
		}},
	)
}
