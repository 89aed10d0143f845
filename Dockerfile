# The node as an image: a user without name and rights, a root file system that may be read-only, no compiler, no pip.
#
#   docker build --tag dicomnode .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     --volume data:/data --volume ./node.toml:/etc/dicomnode/node.toml:ro --publish 11112:11112 dicomnode
#
# PIP_OPTIONS goes to pip as it is, such as --build-arg PIP_OPTIONS="--index-url https://pypi.hospital.example/simple".
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ARG PIP_OPTIONS=""
WORKDIR /src
RUN python -m venv --without-pip /opt/dicomnode
COPY constraints.txt ./
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY models models
COPY config config
COPY dicomnode dicomnode
RUN python -m pip --python /opt/dicomnode/bin/python install --no-cache-dir --no-compile --constraint constraints.txt ${PIP_OPTIONS} .

FROM python:${PYTHON}
COPY --from=build /opt/dicomnode /opt/dicomnode
RUN python -m pip uninstall --yes pip setuptools wheel \
 && install --directory --owner=10001 --group=10001 --mode=0750 /data
ENV PATH=/opt/dicomnode/bin:$PATH \
    DICOMNODE_CONFIG=/etc/dicomnode/node.toml \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 10001:10001
VOLUME /data
EXPOSE 11112 2762 11180
STOPSIGNAL SIGTERM
ENTRYPOINT ["dicomnode"]
CMD ["serve"]
