package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/containerd-pull/containerd-pull/pkg/source"
)

const (
	// codeNoRepository is a code of the distribution specification.
	codeNoRepository = "NAME_UNKNOWN"
	// explainTime bounds the question that explains what is missing.
	explainTime = 3 * time.Second
)

// explainMissing finds out which part of ref the registry does not have. Its answer
// does not say: CNCF distribution has MANIFEST_UNKNOWN for a repository that does not
// exist as well. The list of tags does, if it is given; it is asked for once.
func (r *Registry) explainMissing(ctx context.Context, ref source.Ref, err error) error {
	e, ok := errors.AsType[*source.Error](err)
	if !ok || !errdefs.IsNotFound(e) || e.Missing != "" {
		return err
	}
	if e.Code == codeNoRepository {
		return noRepository(err, e)
	}
	ctx, cancel := context.WithTimeout(ctx, explainTime)
	defer cancel()
	tags, listErr := r.tagsOnce(ctx, ref)
	asked, _ := errors.AsType[*source.Error](listErr)
	switch {
	case listErr == nil && ref.Digest != "":
		e.Missing = source.MissingDigest
	case listErr == nil && !slices.Contains(tags, ref.Tag):
		e.Missing, e.Tags = source.MissingTag, tags
	case asked != nil && asked.Code == codeNoRepository:
		return noRepository(err, e)
	}
	return err
}

func noRepository(err error, e *source.Error) error {
	e.Missing = source.MissingRepository
	return fmt.Errorf("%w: no such repository, or no permission to see it", err)
}

// tagsOnce is Tags without another try, and says nothing about the hosts: the answer
// only explains a failure.
func (r *Registry) tagsOnce(ctx context.Context, ref source.Ref) (tags []string, err error) {
	ref.Tag, ref.Digest = "", ""
	up, err := r.upstream(ctx, ref)
	if err != nil {
		return nil, err
	}
	c := tagsCall(ref)
	hosts, _ := r.candidates(up, c)
	err = errdefs.ErrNotFound // if there is no host
	for _, h := range hosts {
		if tags, err = r.pages(ctx, h, c, isTag()); err == nil {
			return tags, nil
		}
	}
	return nil, err
}
