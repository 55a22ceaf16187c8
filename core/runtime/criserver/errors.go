package criserver

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/klab-project/klab/core/runtime"
)

// coded gives an error of the runtime the code that kubelets look at.
func coded(err error) error {
	if err == nil {
		return nil
	}
	if _, is := status.FromError(err); is {
		return err
	}
	code := codes.Unknown
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, runtime.ErrInvalidImageName):
		code = codes.InvalidArgument
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return status.Error(code, err.Error())
}

// missing is the error for a request without something that it needs.
func missing(what string) error {
	return status.Errorf(codes.InvalidArgument, "the request has no %s", what)
}
