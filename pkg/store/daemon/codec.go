package daemon

import (
	"fmt"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// dataField is the number of WriteContentRequest.data.
const dataField = 6

// byReference is the protobuf codec, except that the data of a write request
// is not copied into the message but follows it as a buffer of its own. That is
// the same message: fields may come in any order.
type byReference struct{}

// Name implements encoding.CodecV2.
func (byReference) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (byReference) Marshal(v any) (mem.BufferSlice, error) {
	req, ok := v.(*contentapi.WriteContentRequest)
	if !ok {
		return nil, fmt.Errorf("unexpected message %T", v)
	}
	data := req.Data
	req.Data = nil
	head, err := proto.Marshal(req)
	req.Data = data
	if err != nil || len(data) == 0 {
		return mem.BufferSlice{mem.SliceBuffer(head)}, err
	}
	head = protowire.AppendTag(head, dataField, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(data)))
	return mem.BufferSlice{mem.SliceBuffer(head), mem.SliceBuffer(data)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (byReference) Unmarshal(data mem.BufferSlice, v any) error {
	msg, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("unexpected message %T", v)
	}
	return proto.Unmarshal(data.Materialize(), msg)
}
