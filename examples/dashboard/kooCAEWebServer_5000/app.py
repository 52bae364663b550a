"""CAE web server: a library of meshes, uploaded as STL and kept beside the code."""

import os
import uuid
from pathlib import Path

from dotenv import load_dotenv
from flask import Flask, abort, jsonify, request
from flask_cors import CORS
from flask_sqlalchemy import SQLAlchemy

import mesh

load_dotenv()

HERE = Path(__file__).parent
UPLOADS = HERE / "uploads"
UPLOADS.mkdir(exist_ok=True)
(HERE / "database").mkdir(exist_ok=True)

app = Flask(__name__)
CORS(app)
app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{HERE / 'database' / 'models.db'}"
app.config["MAX_CONTENT_LENGTH"] = int(os.environ.get("UPLOAD_LIMIT_MB", "64")) * 2**20
db = SQLAlchemy(app)


class Model(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(120), nullable=False)
    file = db.Column(db.String(64), nullable=False, unique=True)
    triangles = db.Column(db.Integer, nullable=False)

    def card(self):
        return {"id": self.id, "title": self.title, "triangles": self.triangles}


def keep(title, triangles):
    """Write the mesh beside the code and its row into the database."""
    name = f"{uuid.uuid4().hex}.stl"
    (UPLOADS / name).write_bytes(mesh.write_stl(triangles))
    model = Model(title=title[:120], file=name, triangles=len(triangles))
    db.session.add(model)
    db.session.commit()
    return model


with app.app_context():
    db.create_all()
    if db.session.query(Model).count() == 0:
        keep("Angle bracket", mesh.bracket())
    db.session.remove()
    db.engine.dispose()  # workers are forked next; a connection must not cross


@app.get("/health")
def health():
    return jsonify(status="ok", service="kooCAEWebServer_5000", version="1.0.0")


@app.get("/models")
def models():
    rows = db.session.query(Model).order_by(Model.id.desc()).limit(50).all()
    return jsonify(models=[m.card() for m in rows])


@app.post("/models")
def upload():
    file = request.files.get("file")
    if file is None:
        return jsonify(error="Send the STL file as the form field 'file'."), 400
    try:
        triangles = mesh.read_stl(file.read())
    except mesh.BadMesh as error:
        return jsonify(error=str(error)), 400
    return jsonify(keep(Path(file.filename or "model").stem, triangles).card()), 201


@app.get("/models/<int:key>/mesh")
def model_mesh(key):
    model = db.session.get(Model, key) or abort(404)
    return jsonify(mesh.describe(mesh.read_stl((UPLOADS / model.file).read_bytes())))
