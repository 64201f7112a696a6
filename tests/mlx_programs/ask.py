"""Asks a server of mlx-lm's, once it is there, and prints what it answers.

    ask.py PORT SECONDS QUESTION"""
import json
import sys
import time
import urllib.error
import urllib.request

port, limit, question = sys.argv[1], time.time() + float(sys.argv[2]), sys.argv[3]


def ask(path, data=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=max(1, limit - time.time())) as answer:
        return json.load(answer)


while True:
    try:
        ask("/health")
        break
    except (urllib.error.URLError, ConnectionError):
        if time.time() > limit:
            sys.exit("nobody answers")
        time.sleep(0.1)
answer = ask("/v1/chat/completions", json.dumps({
    "messages": [{"role": "user", "content": question}], "max_tokens": 12, "temperature": 0}).encode())
print(answer["choices"][0]["message"]["content"])
