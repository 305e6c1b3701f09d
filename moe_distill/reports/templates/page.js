for (const slider of document.querySelectorAll('.way input')) {
  const steps = slider.dataset.steps.split(' '), card = slider.closest('.card');
  slider.addEventListener('input', () => {
    card.querySelector('.way output').textContent = steps[slider.value];
    for (const shot of card.querySelectorAll('img[data-step]')) shot.hidden = shot.dataset.step !== slider.value;
  });
}
