"""The live report: a web server on loopback that renews the page as trials are committed."""

from orchestrator.serving.server import serve

__all__ = ["serve"]
