package testregistry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest"
)

// PushHTTP uploads the image to any registry under "repository:tag", blobs
// first, as a client would. The base URL has no path; the client brings
// credentials and trust.
func PushHTTP(ctx context.Context, client *http.Client, base, name string, img *pulltest.Image) error {
	repo, tag, err := splitTag(name)
	if err != nil {
		return err
	}
	p := pusher{client: client, base: base, repo: base + "/v2/" + repo}
	for _, b := range img.Blobs() {
		if err := p.blob(ctx, b); err != nil {
			return fmt.Errorf("pushing blob %s: %w", b.Digest, err)
		}
	}
	return p.tree(ctx, tag, img)
}

type pusher struct {
	client     *http.Client
	base, repo string
}

func (p pusher) blob(ctx context.Context, b pulltest.Blob) error {
	location, err := p.upload(ctx)
	if err != nil {
		return err
	}
	query := location.Query()
	query.Set("digest", b.Digest.String())
	location.RawQuery = query.Encode()
	body, err := b.Open()
	if err != nil {
		return err
	}
	defer body.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, location.String(), body)
	if err != nil {
		return err
	}
	req.ContentLength = b.Size
	req.Header.Set("Content-Type", "application/octet-stream")
	_, err = p.do(req, http.StatusCreated)
	return err
}

// upload opens an upload and says where its bytes go.
func (p pusher) upload(ctx context.Context) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.repo+"/blobs/uploads/", nil)
	if err != nil {
		return nil, err
	}
	header, err := p.do(req, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(p.base)
	if err != nil {
		return nil, err
	}
	return base.Parse(header.Get("Location"))
}

func (p pusher) tree(ctx context.Context, target string, img *pulltest.Image) error {
	for _, child := range img.Children {
		if err := p.tree(ctx, child.Desc.Digest.String(), child); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, p.repo+"/manifests/"+target, bytes.NewReader(img.Raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", img.Desc.MediaType)
	if _, err := p.do(req, http.StatusCreated); err != nil {
		return fmt.Errorf("pushing manifest %s: %w", img.Desc.Digest, err)
	}
	return nil
}

func (p pusher) do(req *http.Request, want int) (http.Header, error) {
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	message, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s: got status %d, want %d: %s", req.Method, req.URL.Path, resp.StatusCode, want, message)
	}
	return resp.Header, nil
}
