"""The data plane: replicas as continuous-batching servers, request by request."""
