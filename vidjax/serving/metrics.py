"""Figures of a server in Prometheus's format."""

from types import ModuleType

from vidjax.errors import UserError, install


def _client() -> ModuleType:
    try:
        import prometheus_client
    except ImportError:
        raise UserError(f"serving needs the package prometheus-client: {install('serve')}") from None
    return prometheus_client


class Metrics:
    """Counters and histograms of one server.

    Attributes:
      requests: requests answered, by answer and status.
      seconds: time from a request's arrival to its answer, by answer.
      decoding: time for decoding a file.
      batches: views of each batch.
      in_flight: requests at the moment.
      defects: files whose decoding failed in a way that it should not.
    """

    def __init__(self):
        client = _client()
        self._client, self._registry = client, client.CollectorRegistry()
        new = {"registry": self._registry, "namespace": "vidjax"}
        times = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
        self.requests = client.Counter("requests", "Requests answered.", ("answer", "status"), **new)
        self.seconds = client.Histogram(
            "request_seconds", "Time from arrival to answer.", ("answer",), buckets=times, **new
        )
        self.decoding = client.Histogram("decoding_seconds", "Time for decoding a file.", buckets=times, **new)
        self.batches = client.Histogram("batch_views", "Views of a batch.", buckets=(1, 2, 4, 8, 16, 32, 64), **new)
        self.in_flight = client.Gauge("requests_in_flight", "Requests at the moment.", **new)
        self.defects = client.Counter("decoding_defects", "Files that broke the decoder unexpectedly.", **new)

    def text(self) -> tuple[bytes, str]:
        """All figures, and their media type."""
        return self._client.generate_latest(self._registry), self._client.CONTENT_TYPE_LATEST
