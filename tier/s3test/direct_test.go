package s3test

import (
	"bytes"
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// directClient speaks to the gateway without anything in between.
func directClient() (*s3.Client, error) {
	addr, err := gateway()
	if err != nil {
		return nil, err
	}
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + addr), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	}), nil
}

// putDirectly stores an object as if the store had been sent only these bytes.
func putDirectly(key string, data []byte, ifNoneMatch, ifMatch string) {
	c, err := directClient()
	if err != nil {
		return
	}
	in := &s3.PutObjectInput{
		Bucket: aws.String(bucketName), Key: &key, Body: bytes.NewReader(data), ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme,
	}
	if ifNoneMatch != "" {
		in.IfNoneMatch = &ifNoneMatch
	}
	if ifMatch != "" {
		in.IfMatch = &ifMatch
	}
	_, _ = c.PutObject(context.Background(), in)
}
