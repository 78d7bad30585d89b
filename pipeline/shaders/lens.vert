#version 330
// World points to the pixels of a camera with Brown distortion (OpenCV's formula), OpenCV axes, pixel centres at integers.
uniform mat3 R;
uniform vec3 t;
uniform vec2 focal_px, centre_px, size_px, tangential, near_far;
uniform vec3 radial;
uniform float r2_max;
in vec3 point, normal, rgb;
in vec2 uv;
out vec3 at, n, base;
out vec2 st;

void main() {
    vec3 c = R * point + t;
    vec2 xy = c.xy / max(c.z, near_far.x);
    float r2_true = dot(xy, xy);
    // Outside the picture the formula can fold back; there the bend of the border is kept.
    bool inside = r2_true < r2_max && c.z > near_far.x;
    float r2 = inside ? r2_true : r2_max;
    float bend = 1.0 + r2 * (radial.x + r2 * (radial.y + r2 * radial.z));
    vec2 shift = inside ? 2.0 * xy.x * xy.y * tangential + tangential.yx * (r2 + 2.0 * xy * xy) : vec2(0.0);
    vec2 bent = c.xy * bend + shift * c.z;
    vec2 window = focal_px * bent + (centre_px + 0.5) * c.z;
    vec2 clip = 2.0 * window / size_px - c.z;
    float near = near_far.x, far = near_far.y;
    gl_Position = vec4(clip.x, -clip.y, ((far + near) * c.z - 2.0 * far * near) / (far - near), c.z);
    at = point;
    n = normal;
    base = rgb;
    st = uv;
}
