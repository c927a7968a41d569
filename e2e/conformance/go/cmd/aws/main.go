// The AWS SDK for Go v2 with its default chain.
package main

import (
	"context"
	"errors"
	"io"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"exeat.dev/e2e/conformance/step"
)

func main() {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client := s3.NewFromConfig(cfg)
	get := func(bucket, key string) error {
		object, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
		if err != nil {
			return err
		}
		defer object.Body.Close()
		_, err = io.Copy(io.Discard, object.Body)
		return err
	}
	held := func(cfg aws.Config) (string, error) {
		credentials, err := cfg.Credentials.Retrieve(ctx)
		return credentials.AccessKeyID, err
	}
	step.Loop(
		step.Step{Name: "fetch", Run: func() (string, error) {
			fresh, err := config.LoadDefaultConfig(ctx)
			if err != nil {
				return "", err
			}
			return held(fresh)
		}},
		step.Step{Name: "use", Run: func() (string, error) {
			key, err := held(cfg)
			if err != nil {
				return "", err
			}
			return key, get("reports", "q3.txt")
		}},
		step.Step{Name: "denied", Run: func() (string, error) { return "", get("payroll", "salaries.txt") }, Refusal: func(err error) bool {
			var refused smithy.APIError
			return errors.As(err, &refused) && refused.ErrorCode() == "AccessDenied"
		}},
	)
}
