package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/distribution/reference"

	"github.com/containerd-pull/containerd-pull/pkg/registry/header"
	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const (
	// pageSize is how many names are asked for at once; registries give what
	// they like.
	pageSize = "1000"
	// maxPages and maxNames bound a list of any registry.
	maxPages = 100
	maxNames = 20_000
)

// Tags lists the tags of ref's repository, in the order of the registry. They
// are asked for where a tag may be resolved. When the context ends or a page
// fails, what was listed so far comes with the error.
//
// The protocol is "Listing Tags" of the distribution specification.
func (r *Registry) Tags(ctx context.Context, ref source.Ref) ([]string, error) {
	ref.Tag, ref.Digest = "", ""
	names, err := r.list(ctx, tagsCall(ref), isTag())
	if err != nil {
		return names, fmt.Errorf("listing the tags of %s/%s: %w", ref.TypedHost(), ref.Path, err)
	}
	return names, nil
}

func tagsCall(ref source.Ref) call {
	return call{op: "tags", ref: ref, kind: "tags", object: "list", accept: []string{"application/json"}}
}

func isTag() func(string) bool { return anchored(reference.TagRegexp) }

// Repositories lists those of the registry domain, in its order, as Tags does.
// Many registries have no such list, or show it to some users alone.
//
// The protocol is the catalog of Docker's registry API V2.
func (r *Registry) Repositories(ctx context.Context, domain string) ([]string, error) {
	c := call{op: "catalog", ref: source.RegistryRef(domain), kind: "_catalog", accept: []string{"application/json"}}
	names, err := r.list(ctx, c, func(name string) bool {
		_, err := reference.WithName(domain + "/" + name)
		return err == nil
	})
	if err != nil {
		return names, fmt.Errorf("listing the repositories of %s: %w", domain, err)
	}
	return names, nil
}

func anchored(re *regexp.Regexp) func(string) bool {
	whole := regexp.MustCompile("^(?:" + re.String() + ")$")
	return whole.MatchString
}

// list goes round the hosts until one gives a list, all of whose pages come
// from that host. Names that are not valid are left out: they end up on
// terminals.
func (r *Registry) list(ctx context.Context, c call, valid func(string) bool) ([]string, error) {
	up, err := r.upstream(ctx, c.ref)
	if err != nil {
		return nil, err
	}
	ctx = r.forDocument(ctx, c.ref, true)
	var got []string // kept when its last page failed
	_, err = rounds(ctx, r, up, c, func(h *host) (struct{}, error) {
		var err error
		got, err = r.pages(ctx, h, c, valid)
		return struct{}{}, err
	})
	return got, err
}

// pages follows the links from page to page. It returns what it has along with
// an error.
func (r *Registry) pages(ctx context.Context, h *host, c call, valid func(string) bool) ([]string, error) {
	var names []string
	c.query = url.Values{"n": {pageSize}}
	for range maxPages {
		page, next, err := r.page(ctx, h, c)
		if e, ok := errors.AsType[*source.Error](err); ok && e.Status == http.StatusBadRequest && c.query.Get("n") == pageSize && len(names) == 0 {
			c.query = nil // some refuse to give so many at once
			continue
		}
		for _, name := range page {
			if valid(name) && len(names) < maxNames {
				names = append(names, name)
			}
		}
		if err != nil || next == nil || len(names) == maxNames {
			return names, err
		}
		if next.Encode() == c.query.Encode() {
			return names, c.fail(h, malformedf("page that links to itself"))
		}
		c.query = next
	}
	return names, nil
}

// page fetches one page and the query that gives the next one, nil after the
// last.
func (r *Registry) page(ctx context.Context, h *host, c call) ([]string, url.Values, error) {
	resp, err := r.ask(ctx, h, c)
	if err != nil {
		return nil, nil, err
	}
	next, linkErr := h.nextPage(resp, c)
	body, err := r.readDocument(resp)
	if cause := contextError(ctx); err != nil && cause != nil {
		return nil, nil, cause
	}
	if err != nil {
		return nil, nil, c.fail(h, readFault(err))
	}
	r.dump.Document(body)
	var doc struct{ Tags, Repositories []string }
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, nil, c.fail(h, malformedf("list that is no JSON: %w", err))
	}
	if linkErr != nil {
		err = c.fail(h, networkFault(linkErr))
	}
	return append(doc.Tags, doc.Repositories...), next, err
}

// nextPage reads the link to the next page. Only path and query count: it has to
// lead to the same list, and is asked for at the same host, however that is called
// by the server behind a proxy.
func (h *host) nextPage(resp *http.Response, c call) (url.Values, error) {
	link := header.NextLink(resp.Header.Values("Link"))
	if link == "" {
		return nil, nil
	}
	first := h.url(c)
	to, err := first.Parse(link)
	if err != nil {
		return nil, malformedf("link to no usable page")
	}
	if to.Path != first.Path {
		return nil, malformedf("link to a page of another list, at %q", to.EscapedPath())
	}
	query := to.Query()
	query.Del("ns") // host.url adds it
	return query, nil
}
