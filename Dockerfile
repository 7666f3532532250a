# The image of every node of a cluster (cluster/kuberay.py): `docker build --tag segprint .`
# What is installed is what the Makefile installs, without the tools of development.

FROM python:3.11.13-slim-bookworm AS build
# Debian keeps one version of a package in a release: a pinned one would be gone with the next fix.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends gcc libc6-dev \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /home/segprint
COPY pyproject.toml constraints.txt README.md ./
COPY orchestrator orchestrator
COPY trainables trainables
COPY search_spaces search_spaces
COPY cluster cluster
# orchestrator/views/views.md is a link to it.
COPY docs/views.md docs/views.md
RUN python3 -m venv .venv \
  && .venv/bin/pip install --quiet --no-cache-dir --constraint constraints.txt .

FROM python:3.11.13-slim-bookworm
# wget: KubeRay asks with it whether a node is well.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends wget \
  && rm -rf /var/lib/apt/lists/* \
  && groupadd --gid 1000 segprint \
  && useradd --uid 1000 --gid 1000 --create-home segprint
WORKDIR /home/segprint
COPY --from=build /home/segprint/.venv .venv
ENV PATH=/home/segprint/.venv/bin:$PATH \
  PYTHONDONTWRITEBYTECODE=1 \
  RAY_USAGE_STATS_ENABLED=0
USER 1000:1000
CMD ["segprint", "--help"]
