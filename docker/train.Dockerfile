# Train: docker build -f docker/train.Dockerfile -t appkit-train .
# With a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130, and run with --gpus all.
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Triton compiles its launcher with it
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY appkit appkit
COPY tasks tasks
COPY apps apps
COPY data data
RUN pip install --no-cache-dir --constraint constraints.txt --index-url ${TORCH_INDEX} --extra-index-url https://pypi.org/simple torch \
    && pip install --no-cache-dir --constraint constraints.txt '.[train]'
# whatever number the container runs as, it may write there
RUN useradd --create-home appkit && mkdir /cache /work && chmod 1777 /cache /work /home/appkit
ENV HOME=/home/appkit
ENV APPKIT_CACHE=/cache
USER appkit
WORKDIR /work
VOLUME ["/work", "/cache"]
ENTRYPOINT ["appkit"]
CMD ["doctor"]
