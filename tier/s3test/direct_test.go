package s3test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

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

// putPartDirectly stores a part of a multipart upload as if the store had been sent only these bytes.
func putPartDirectly(key, upload, number string, data []byte) (etag string) {
	c, err := directClient()
	if err != nil {
		return ""
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return ""
	}
	out, err := c.UploadPart(context.Background(), &s3.UploadPartInput{
		Bucket: aws.String(bucketName), Key: &key, UploadId: &upload, PartNumber: aws.Int32(int32(n)),
		Body: bytes.NewReader(data), ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme,
	})
	if err != nil {
		return ""
	}
	return aws.ToString(out.ETag)
}

// beginDirectly begins a multipart upload, as a writer would that dies then.
func beginDirectly(t *testing.T, key string) {
	t.Helper()
	c, err := directClient()
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
		Bucket: aws.String(bucketName), Key: &key,
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumType: types.ChecksumTypeFullObject,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// unfinished returns the keys of the multipart uploads below a prefix.
func unfinished(t *testing.T, prefix string) (keys []string) {
	t.Helper()
	c, err := directClient()
	if err != nil {
		t.Fatal(err)
	}
	pages := s3.NewListMultipartUploadsPaginator(c, &s3.ListMultipartUploadsInput{Bucket: aws.String(bucketName), Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page.Uploads {
			keys = append(keys, aws.ToString(u.Key))
		}
	}
	return keys
}

// age makes the unfinished uploads below a prefix two days old.
func age(t *testing.T, prefix string) {
	t.Helper()
	old := time.Now().Add(-48 * time.Hour)
	for _, key := range unfinished(t, prefix) {
		uploads, err := filepath.Glob(filepath.Join(gatewayDir, bucketName, ".sgwtmp", "multipart", fmt.Sprintf("%x", sha256.Sum256([]byte(key))), "*"))
		if err != nil || len(uploads) == 0 {
			t.Fatalf("the gateway keeps no upload of %s: %v", key, err)
		}
		for _, upload := range uploads {
			if err := os.Chtimes(upload, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// storeHalf stores half of the body of a request.
func storeHalf(r *http.Request) (etag string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	half := body[:len(body)/2]
	key := strings.TrimPrefix(r.URL.Path, "/"+bucketName+"/")
	if q := r.URL.Query(); q.Has("uploadId") {
		return putPartDirectly(key, q.Get("uploadId"), q.Get("partNumber"), half)
	}
	putDirectly(key, half, r.Header.Get("If-None-Match"), r.Header.Get("If-Match"))
	return `"0123"`
}
