# The operator. BASE_IMAGE is any image with Python 3.11 or newer and its venv module. Where no package
# index can be reached, `make wheels` puts the packages into build/wheels, and PIP_NO_INDEX=1 takes them
# from there; hashes are checked either way.
ARG BASE_IMAGE=python:3.13-slim-trixie

FROM ${BASE_IMAGE} AS packages
ARG PIP_NO_INDEX
WORKDIR /wheels
# The wildcard matches nothing where there are no such wheels, which is no error.
COPY requirements-runtime.lock build/wheels* ./
RUN python3 -m venv /opt/steelyard \
 && /opt/steelyard/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
      --only-binary :all: --require-hashes --find-links . -r requirements-runtime.lock \
 && /opt/steelyard/bin/python -m pip uninstall --quiet --yes setuptools pip
WORKDIR /app
COPY controller controller
RUN /opt/steelyard/bin/python -m compileall -q controller

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="steelyard" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=packages /opt/steelyard /opt/steelyard
COPY --from=packages /app /app
WORKDIR /app
# One core decides for thousands of objects: threads of the linear algebra only cost memory.
ENV PATH=/opt/steelyard/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["python", "-m", "controller"]
