# docker build -t warmstate .     (podman and buildah build it as well)
#
# Another base by argument, such as one without a shell:
#   --build-arg BASE_IMAGE=gcr.io/distroless/nodejs26-debian13 --build-arg NODE=/nodejs/bin/node
ARG BUILD_IMAGE=docker.io/library/node:26-bookworm-slim
ARG BASE_IMAGE=docker.io/library/node:26-bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json rolldown.config.ts ./
COPY src ./src
RUN npm run build && rm -rf node_modules && npm ci --omit=dev --ignore-scripts --no-audit --no-fund
# What the image gets, at its place. `warmstate` is a program of the path, as it is for `kubectl exec`: the kernel starts the base's Node for it.
ARG NODE=/usr/local/bin/node
RUN mkdir -p /image/opt/warmstate /image/usr/local/bin \
  && sed -i "1s|^#!/usr/bin/env -S .*node|#!${NODE}|" dist/main.js && chmod 755 dist/main.js \
  && cp -r dist node_modules package.json /image/opt/warmstate/ \
  && ln -s /opt/warmstate/dist/main.js /image/usr/local/bin/warmstate
COPY LICENSE /image/opt/warmstate/
COPY demo /image/opt/warmstate/demo

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="warmstate" \
  org.opencontainers.image.description="Keeps the local state of Kafka Streams applications in object storage, so that a pod without a persistent volume starts warm." \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
# As the first line of the program has it, which the base may lack the means to read.
ENV NODE_ENV=production MALLOC_ARENA_MAX=1
WORKDIR /
# Nobody in particular: the pod says who it is, and must be who the application is, or in its group.
USER 65532:65532
STOPSIGNAL SIGTERM
EXPOSE 10464
ENTRYPOINT ["/usr/local/bin/warmstate"]
