# The gallery: docker build -f docker/app.Dockerfile -t appkit-app .   No torch in it.
FROM python:3.11-slim
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY appkit appkit
COPY tasks tasks
COPY apps apps
COPY data data
RUN pip install --no-cache-dir --constraint constraints.txt '.[apps]'
# whatever number the container runs as, it may write there
RUN useradd --create-home appkit && mkdir /feedback && chmod 1777 /feedback /home/appkit
ENV HOME=/home/appkit
USER appkit
WORKDIR /home/appkit
VOLUME ["/feedback"]
EXPOSE 7860
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=4)"]
ENTRYPOINT ["appkit"]
CMD ["demo", "--gateway", "http://gateway:8000", "--host", "0.0.0.0", "--port", "7860", "--auth-file", "/run/secrets/people", "--feedback", "/feedback/feedback.sqlite"]
