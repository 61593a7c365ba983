package watch

import (
	"cmp"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd-pull/containerd-pull/pkg/image"
	"github.com/containerd-pull/containerd-pull/pkg/progress"
	"github.com/containerd-pull/containerd-pull/pkg/store"
	"github.com/containerd-pull/containerd-pull/pkg/store/daemon"
)

const (
	labelManifests = image.LabelContent + ".m."
	labelLayers    = image.LabelContent + ".l."
)

// Image is what tells which image a pull is of, as far as leases and labels do.
type Image struct {
	Namespace string
	// Name is the one that the lease or an image record has; empty if neither does.
	Name string
	// Repositories are those where its documents came from, now or earlier.
	Repositories []string
	// Target is the index or manifest; empty if no document lists what is fetched.
	Target digest.Digest
	// Lease is the ID of the lease that holds what is fetched, empty without one.
	Lease string
	// Own reports whether the pull is one of this program.
	Own bool
}

// group is one pull as a look shows it.
type group struct {
	Image
	abandoned bool            // the process that pulled has ended
	manifests []digest.Digest // those whose blobs are listed
	blobs     []blob
}

// blob is a part of an image that is in the store, or comes, or will.
type blob struct {
	digest  digest.Digest
	kind    progress.Blob // empty if it is not known
	size    int64         // 0 if it is not known
	present bool
	ingest  *content.Status // nil without one
}

// key tells the pulls of a look apart.
type key struct {
	namespace, title string
	abandoned        bool
}

func (g *group) key() key { return key{g.Namespace, g.Title(), g.abandoned} }

// has reports whether the image was found to have the blob dgst.
func (g *group) has(dgst digest.Digest) bool {
	return slices.ContainsFunc(g.blobs, func(b blob) bool { return b.digest == dgst })
}

// parseKey takes the key of an ingest apart that containerd's clients give to what
// they fetch for an image: KIND-DIGEST, or KIND-NAME@DIGEST. Other ingests are of no
// pull.
func parseKey(key string) (kind string, dgst digest.Digest, ok bool) {
	kind, rest, found := strings.Cut(key, "-")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = rest[at+1:]
	}
	dgst, err := digest.Parse(rest)
	return kind, dgst, found && err == nil
}

// setting is a look at one namespace. Reading its manifests is all that it needs of
// a daemon.
type setting struct {
	*daemon.Scene
	namespace string
	manifests map[digest.Digest]ocispec.Manifest // that were read
}

// mayList reports whether the labels of a blob allow that it is a manifest with
// dgst: where layers are not kept, no label names them.
func mayList(info content.Info, dgst digest.Digest) bool {
	if info.Labels[image.LabelConfig] == "" {
		return false
	}
	layers := false
	for key, value := range info.Labels {
		if strings.HasPrefix(key, image.LabelContent) && value == dgst.String() {
			return true
		}
		layers = layers || strings.HasPrefix(key, labelLayers)
	}
	return !layers
}

func lists(m ocispec.Manifest, dgst digest.Digest) bool {
	return slices.ContainsFunc(image.Children(m), func(d ocispec.Descriptor) bool { return d.Digest == dgst })
}

// arrange puts the ingests that belong to one image together.
func (s *setting) arrange(ingests []content.Status) []*group {
	var groups []*group
	for _, status := range ingests {
		kind, dgst, ok := parseKey(status.Ref)
		if !ok {
			continue
		}
		b := blob{digest: dgst, kind: kindOf(kind), size: status.Total, ingest: &status}
		s.groupOf(&groups, b).add(b)
	}
	return groups
}

// groupOf finds the group of an ingest, or begins one.
func (s *setting) groupOf(groups *[]*group, b blob) *group {
	holding, manifest := s.belongs(b.ingest.Ref, b.digest)
	g := s.describe(holding, manifest, b)
	i := slices.IndexFunc(*groups, func(o *group) bool { return o.key() == g.key() })
	if i < 0 {
		*groups = append(*groups, g)
	} else {
		g = (*groups)[i]
	}
	if m, ok := s.manifests[manifest]; ok && !slices.Contains(g.manifests, manifest) {
		g.manifests = append(g.manifests, manifest)
		g.list(m, s.Blobs)
	}
	return g
}

// belongs finds the lease that holds an ingest, and the manifest that lists its blob:
// one of that lease, else the youngest. The blob may be a manifest itself.
func (s *setting) belongs(ref string, dgst digest.Digest) (*daemon.Holding, digest.Digest) {
	var parents []content.Info
	for parent, m := range s.manifests {
		if lists(m, dgst) {
			parents = append(parents, s.Blobs[parent])
		}
	}
	var holding *daemon.Holding
	for i := range s.Leases {
		if !s.Leases[i].Resources[leases.Resource{ID: ref, Type: store.ResourceIngest}] {
			continue
		}
		holding = &s.Leases[i]
		if held := heldBy(holding, parents); len(held) > 0 {
			return holding, youngest(held)
		}
	}
	if len(parents) == 0 {
		return holding, dgst
	}
	return holding, youngest(parents)
}

func heldBy(h *daemon.Holding, all []content.Info) []content.Info {
	if h == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(info content.Info) bool {
		return !h.Resources[leases.Resource{ID: info.Digest.String(), Type: store.ResourceContent}]
	})
}

// youngest returns the blob that came last, the first by digest of several.
func youngest(all []content.Info) digest.Digest {
	return slices.MaxFunc(all, func(a, b content.Info) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(b.Digest, a.Digest))
	}).Digest
}

// describe says what the lease and the labels above the document dgst tell of its
// image, of which b is a blob. What no document lists, and is none itself, has no
// target.
func (s *setting) describe(h *daemon.Holding, document digest.Digest, b blob) *group {
	g := &group{Image: Image{Namespace: s.namespace}}
	root := s.top(h, document)
	if root != b.digest || b.kind == progress.Index || b.kind == progress.Manifest {
		g.Target = root
	}
	if h != nil {
		own, running := store.OfPull(h.Lease)
		g.Lease, g.Own, g.abandoned = h.ID, own, own && !running
		if own {
			g.Name = h.Labels[store.LabelName]
		}
	}
	g.Name = cmp.Or(g.Name, recordOf(s.Images, g.Target))
	g.Repositories = repositories(s.Blobs[root], s.Blobs[document])
	return g
}

// top follows the indexes above a document up to one that no other lists.
func (s *setting) top(h *daemon.Holding, dgst digest.Digest) digest.Digest {
	for range image.MaxDepth {
		var above []content.Info
		for _, info := range s.Blobs {
			for key, value := range info.Labels {
				if strings.HasPrefix(key, labelManifests) && value == dgst.String() {
					above = append(above, info)
					break
				}
			}
		}
		if held := heldBy(h, above); len(held) > 0 {
			above = held
		}
		if len(above) == 0 {
			break
		}
		dgst = youngest(above)
	}
	return dgst
}

// recordOf returns the name of the record that points to target, that with a tag if
// there are several, as CRI has them.
func recordOf(all []images.Image, target digest.Digest) string {
	var names []string
	for _, img := range all {
		if target != "" && img.Target.Digest == target {
			names = append(names, img.Name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	return append(names, "")[0]
}

func rank(name string) int {
	switch {
	case strings.HasPrefix(name, "sha256:"):
		return 2
	case strings.Contains(name, "@"):
		return 1
	}
	return 0
}

// repositories reads the labels of the first document that has some.
func repositories(documents ...content.Info) []string {
	var all []string
	for _, info := range documents {
		for key, value := range info.Labels {
			host, ok := strings.CutPrefix(key, labels.LabelDistributionSource+".")
			for repository := range strings.SplitSeq(value, ",") {
				if ok && repository != "" {
					all = append(all, host+"/"+repository)
				}
			}
		}
		if len(all) > 0 {
			break
		}
	}
	slices.Sort(all)
	return all
}

// list adds what a manifest lists.
func (g *group) list(m ocispec.Manifest, there map[digest.Digest]content.Info) {
	for i, desc := range image.Children(m) {
		kind := progress.Layer
		if i == 0 {
			kind = progress.Config
		}
		_, present := there[desc.Digest]
		g.add(blob{digest: desc.Digest, kind: kind, size: desc.Size, present: present})
	}
}

// add adds b, or what it says to the blob that is there.
func (g *group) add(b blob) {
	i := slices.IndexFunc(g.blobs, func(o blob) bool { return o.digest == b.digest })
	if i < 0 {
		g.blobs = append(g.blobs, b)
		return
	}
	old := &g.blobs[i]
	old.kind, old.size = cmp.Or(old.kind, b.kind), cmp.Or(old.size, b.size)
	old.ingest = cmp.Or(old.ingest, b.ingest)
}

// kindOf returns the kind that the key of an ingest begins with, empty for kinds that
// no image is made of.
func kindOf(word string) progress.Blob {
	switch kind := progress.Blob(word); kind {
	case progress.Index, progress.Manifest, progress.Config, progress.Layer:
		return kind
	}
	return ""
}
